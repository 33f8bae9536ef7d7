/* Filters that a network predicts for every pixel: what `rlenhance.engine.pixel_kernels` calls.
 *
 * The logits of a cell of 1 or 2 x 2 pixels are (taps for luma, taps for chroma), and what the caller reads of them
 * afterwards; with 2 x 2 pixels each number is four. A filter is the softmax of its logits.
 */
#include "compiled.h"

#if defined(__GNUC__)

typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t EightBits __attribute__((vector_size(32), aligned(4), may_alias));

#define MOST_TAPS 49
#define LARGEST 60.0f /* of a logit: e^60 stays far within float32 */

typedef struct {
    const float *logits;           /* (rows, columns, depth) of cells */
    const float *picture;          /* luma and two chroma planes, each with a border of side / 2 pixels */
    float *result;                 /* three planes without border */
    int64_t columns, depth;        /* of the cells */
    int64_t picture_columns, picture_plane; /* from row to row and from plane to plane */
    int64_t result_columns, result_plane;
    int64_t side, pixels;          /* of a filter; along a cell, 1 or 2 */
} Filters;

/* e^x for numbers in [-60, 60], within 2e-7 of it (Cephes' polynomial). */
INLINE Eight exponential(Eight x)
{
    const Eight shift = {12582912.0f, 12582912.0f, 12582912.0f, 12582912.0f,
                         12582912.0f, 12582912.0f, 12582912.0f, 12582912.0f}; /* 1.5 * 2^23 rounds */
    const Eight scaled = x * 1.44269504f + shift;
    const Eight whole = scaled - shift;
    const Eight rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    Eight sum = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    const EightBits power = ((EightBits)scaled - (EightBits)shift + 127) << 23;
    return sum * (Eight)power;
}

INLINE void weights_of(const float *logits, float *weights, const int64_t count)
{
    for (int64_t at = 0; at < count; at += 8) {
        const Eight x = *(const Eight *)(logits + at), high = (Eight){0} + LARGEST;
        const EightBits above = x > high, below = x < -high;
        const EightBits kept = (EightBits)x & ~(above | below);
        *(Eight *)(weights + at) = exponential((Eight)(kept | ((EightBits)high & above) | ((EightBits)-high & below)));
    }
}

INLINE Four square(const float *at, int64_t step)
{
    return (Four){at[0], at[1], at[step], at[step + 1]};
}

/* Rows of cells of 2 x 2 pixels. */
INLINE void filter_squares(const Filters *all, int64_t first, int64_t last, const int side)
{
    const int taps = side * side;
    const int64_t step = all->picture_columns, plane = all->picture_plane;
    float weights[8 * MOST_TAPS + 8];
    for (int64_t row = first; row < last; row++)
        for (int64_t column = 0; column < all->columns; column++) {
            weights_of(all->logits + ((row - first) * all->columns + column) * all->depth, weights, 8 * taps);
            const float *corner = all->picture + 2 * row * step + 2 * column;
            Four luma = {0}, blue = {0}, red = {0}, total = {0}, colors = {0};
            for (int y = 0; y < side; y++)
#pragma GCC unroll 7
                for (int x = 0; x < side; x++) {
                    const float *from = corner + y * step + x;
                    const Four one = *(const Four *)(weights + 4 * (y * side + x));
                    const Four other = *(const Four *)(weights + 4 * (taps + y * side + x));
                    luma += one * square(from, step);
                    blue += other * square(from + plane, step);
                    red += other * square(from + 2 * plane, step);
                    total += one;
                    colors += other;
                }
            luma /= total;
            blue /= colors;
            red /= colors;
            float *to = all->result + 2 * row * all->result_columns + 2 * column;
            const Four done[3] = {luma, blue, red};
            for (int each = 0; each < 3; each++, to += all->result_plane) {
                to[0] = done[each][0];
                to[1] = done[each][1];
                to[all->result_columns] = done[each][2];
                to[all->result_columns + 1] = done[each][3];
            }
        }
}

/* Rows of cells of one pixel. */
INLINE void filter_pixels(const Filters *all, int64_t first, int64_t last, const int side)
{
    const int taps = side * side;
    const int64_t step = all->picture_columns, plane = all->picture_plane;
    float weights[2 * MOST_TAPS + 8];
    for (int64_t row = first; row < last; row++)
        for (int64_t column = 0; column < all->columns; column++) {
            weights_of(all->logits + ((row - first) * all->columns + column) * all->depth, weights, 2 * taps);
            const float *corner = all->picture + row * step + column;
            float luma = 0, blue = 0, red = 0, total = 0, colors = 0;
            for (int y = 0; y < side; y++)
#pragma GCC unroll 7
                for (int x = 0; x < side; x++) {
                    const float *from = corner + y * step + x;
                    const float one = weights[y * side + x], other = weights[taps + y * side + x];
                    luma += one * from[0];
                    blue += other * from[plane];
                    red += other * from[2 * plane];
                    total += one;
                    colors += other;
                }
            float *to = all->result + row * all->result_columns + column;
            to[0] = luma / total;
            to[all->result_plane] = blue / colors;
            to[2 * all->result_plane] = red / colors;
        }
}

/* Filter rows of cells, whose logits begin with those of the first row. The logits have whole vectors of eight. */
EXPORT PROCESSORS void filter_rows(const Filters *all, int64_t first, int64_t last)
{
    if (all->pixels == 2) {
        if (all->side == 3)
            filter_squares(all, first, last, 3);
        else if (all->side == 5)
            filter_squares(all, first, last, 5);
        else
            filter_squares(all, first, last, 7);
    } else if (all->side == 3)
        filter_pixels(all, first, last, 3);
    else if (all->side == 5)
        filter_pixels(all, first, last, 5);
    else
        filter_pixels(all, first, last, 7);
}

#endif
