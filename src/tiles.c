/* In: lengths. Out: tile sizes that divide them well. */
#include "tiles.h"

int mha_round_up(int length, int step) {
    return (length + step - 1) / step * step;
}

int mha_even_block(int length, int most, int step) {
    const int parts = length > most ? (length + most - 1) / most : 1;
    return mha_round_up(length > 0 ? (length + parts - 1) / parts : 1, step);
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
