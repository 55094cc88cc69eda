/* In: lengths. Out: tile sizes that divide them well. */
#include "tiles.h"

int mha_divide_up(int length, int step) {
    return (length + step - 1) / step;
}

int mha_round_up(int length, int step) {
    return mha_divide_up(length, step) * step;
}

int mha_even_block(int length, int most, int step) {
    const int steps = length > 0 ? mha_divide_up(length, step) : 1;
    const int fewest = mha_divide_up(steps, mha_divide_up(most > 0 ? most : 1, step));
    for (int parts = fewest; parts <= 2 * fewest; ++parts) {
        const int block = mha_divide_up(steps, parts);
        if (16 * (block * parts - steps) <= steps)
            return block * step;
    }
    return mha_divide_up(steps, fewest) * step;
}

int mha_even_tile(int length, const int *sizes) {
    int best = sizes[0];
    for (int i = 1; sizes[i]; ++i) {
        const int saved = mha_round_up(length, best) - mha_round_up(length, sizes[i]);
        if (saved > length / (sizes[i] < best ? 50 : 100))
            best = sizes[i];
    }
    return best;
}
