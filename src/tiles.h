/* Tile sizes that waste little of a length. Lengths may be 0, sizes are >= 1. */
#ifndef MHA_TILES_H
#define MHA_TILES_H

/* Sums of a register tile where there are 32 registers, as there are with 16 lanes of fp32
 * (AVX-512): beside them a vector of each column and a broadcast. Of 16 registers 6 x 2 are sums.
 */
#define MHA_WIDE_SUMS 24

/* Steps, the last of which may go beyond. */
int mha_divide_up(int length, int step);

int mha_round_up(int length, int step);

/* The size of few, equal blocks of at most `most`, rounded up to a step: a last block that is
 * nearly empty leaves a compute unit idle, so up to twice as many blocks as there must be, if they
 * exceed the length by a sixteenth at most. Of the result the result is the same. */
int mha_even_block(int length, int most, int step);

/* The first of the sizes, which end with 0, but a later one where that saves more than a
 * hundredth of the length, a fiftieth if it is smaller. */
int mha_even_tile(int length, const int *sizes);

#endif
