/* Convolutions of small networks, of which channels may stand in groups: what `rlenhance.engine.convolutions` calls.
 *
 * Layers are (rows, columns, channels) float32 with a border of one pixel of zeros, and further zeros until rows and
 * columns are whole cells of four. Kernels of 3 x 3 are computed by Winograd's F(4 x 4, 3 x 3): a quarter of the
 * multiplications (Lavin and Gray 2016). Every cell is computed in one way, so that threads do not show.
 */
#include "compiled.h"

#if defined(__GNUC__)

typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));
typedef float Sixteen __attribute__((vector_size(64), aligned(4), may_alias)); /* a panel */
typedef int32_t EightBits __attribute__((vector_size(32), aligned(4), may_alias));

#define PANEL 16  /* channels that are computed at once */
#define TALL 6    /* pixels or cells that are computed at once */
#define BLOCK 24  /* pixels that stay in the cache while all their channels are computed */
#define CELL 4    /* pixels along a cell */
#define PLACES 36 /* values of a cell and its surroundings, after the transform */

typedef struct {
    const float *source, *weights, *bias; /* weights in panels, see `convolutions.py` */
    const float *added;                   /* a layer like the result, or null; it may be the result */
    float *result;
    int64_t height, width;                /* of the source, without its border */
    int64_t source_columns, result_columns; /* with their borders */
    int64_t inputs, outputs;              /* channels from pixel to pixel; outputs are a multiple of 16 in every group */
    int64_t depth;                        /* channels that are read in every group; of 3 x 3 a multiple of 8 */
    int64_t groups;
    int64_t rectified;                    /* 1: after the sum; 2: before it */
} Layer;

/* Some rows of a product: to[r, 0..15] = bias[0..15] + added[r, 0..15] + sum over k of a[r, k] panel[k, 0..15].
 *
 * `wide` is a constant: a panel is one vector where processors have such registers, and two elsewhere.
 */
INLINE void multiply(const float *a, int64_t a_step, int64_t depth, const float *panel, const int rows,
                     const float *bias, const float *added, float *to, int64_t to_step, const int wide)
{
    if (wide) {
        Sixteen sums[TALL];
        for (int r = 0; r < rows; r++) {
            sums[r] = bias ? *(const Sixteen *)bias : (Sixteen){0};
            if (added)
                sums[r] += *(const Sixteen *)(added + r * to_step);
        }
        for (int64_t k = 0; k < depth; k++) {
            const Sixteen values = *(const Sixteen *)(panel + PANEL * k);
#pragma GCC unroll 6
            for (int r = 0; r < rows; r++)
                sums[r] += a[r * a_step + k] * values;
        }
        for (int r = 0; r < rows; r++)
            *(Sixteen *)(to + r * to_step) = sums[r];
        return;
    }
    Eight sums[TALL][2];
    for (int r = 0; r < rows; r++)
        for (int part = 0; part < 2; part++) {
            sums[r][part] = bias ? *(const Eight *)(bias + 8 * part) : (Eight){0};
            if (added)
                sums[r][part] += *(const Eight *)(added + r * to_step + 8 * part);
        }
    for (int64_t k = 0; k < depth; k++) {
        const Eight first = *(const Eight *)(panel + PANEL * k), second = *(const Eight *)(panel + PANEL * k + 8);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            const float value = a[r * a_step + k];
            sums[r][0] += value * first;
            sums[r][1] += value * second;
        }
    }
    for (int r = 0; r < rows; r++)
        for (int part = 0; part < 2; part++)
            *(Eight *)(to + r * to_step + 8 * part) = sums[r][part];
}

/* The same for any number of rows. */
INLINE void multiply_all(const float *a, int64_t a_step, int64_t depth, const float *panel, int64_t rows,
                         const float *bias, const float *added, float *to, int64_t to_step, const int wide)
{
    int64_t r = 0;
    for (; r + TALL <= rows; r += TALL)
        multiply(a + r * a_step, a_step, depth, panel, TALL, bias, added ? added + r * to_step : 0, to + r * to_step,
                 to_step, wide);
    for (; r < rows; r++)
        multiply(a + r * a_step, a_step, depth, panel, 1, bias, added ? added + r * to_step : 0, to + r * to_step,
                 to_step, wide);
}

/* The rows of B' d of a column d of six values. */
#define BEFORE(to, d0, d1, d2, d3, d4, d5)                                                                             \
    do {                                                                                                               \
        const Eight even = (d4) - 4.0f * (d2), odd = (d3) - 4.0f * (d1);                                               \
        const Eight low = (d4) - (d2), high = 2.0f * ((d3) - (d1));                                                    \
        (to)[0] = 4.0f * (d0) - 5.0f * (d2) + (d4);                                                                    \
        (to)[1] = even + odd;                                                                                          \
        (to)[2] = even - odd;                                                                                          \
        (to)[3] = low + high;                                                                                          \
        (to)[4] = low - high;                                                                                          \
        (to)[5] = 4.0f * (d1) - 5.0f * (d3) + (d5);                                                                    \
    } while (0)

/* The rows of A' m of a column m of six values. */
#define AFTER(to, m0, m1, m2, m3, m4, m5)                                                                              \
    do {                                                                                                               \
        const Eight sum = (m1) + (m2), gap = (m1) - (m2), far = (m3) + (m4), wide = (m3) - (m4);                       \
        (to)[0] = (m0) + sum + far;                                                                                    \
        (to)[1] = gap + 2.0f * wide;                                                                                   \
        (to)[2] = sum + 4.0f * far;                                                                                    \
        (to)[3] = gap + 8.0f * wide + (m5);                                                                            \
    } while (0)

/* Cells `column` to `column + count` of a row of cells, of the inputs of a group, transformed: (PLACES, tall, depth).
 */
INLINE void cells_in(const Layer *layer, int64_t group, int64_t row, int64_t column, int64_t count, int64_t tall,
                     float *cells)
{
    const int64_t inputs = layer->inputs, depth = layer->depth, step = layer->source_columns * inputs;
    for (int64_t cell = 0; cell < count; cell++) {
        const float *from = layer->source + CELL * (row * step + (column + cell) * inputs) + group * depth;
        float *to = cells + cell * depth;
        for (int64_t channel = 0; channel < depth; channel += 8, from += 8, to += 8) {
            Eight turned[6][6];
#define AT(y, x) (*(const Eight *)(from + (y) * step + (x) * inputs))
#pragma GCC unroll 6
            for (int x = 0; x < 6; x++)
                BEFORE(turned[x], AT(0, x), AT(1, x), AT(2, x), AT(3, x), AT(4, x), AT(5, x));
#undef AT
#pragma GCC unroll 6
            for (int y = 0; y < 6; y++) {
                Eight values[6];
                BEFORE(values, turned[0][y], turned[1][y], turned[2][y], turned[3][y], turned[4][y], turned[5][y]);
#pragma GCC unroll 6
                for (int x = 0; x < 6; x++)
                    *(Eight *)(to + (6 * y + x) * tall * depth) = values[x];
            }
        }
    }
}

/* The pixels of these cells, of the outputs of a group, from their products (PLACES, tall, made). */
INLINE void cells_out(const Layer *layer, int64_t group, int64_t row, int64_t column, int64_t count, int64_t tall,
                      const float *cells)
{
    const int64_t outputs = layer->outputs, made = outputs / layer->groups, step = layer->result_columns * outputs;
    const int64_t rows = layer->height - CELL * row < CELL ? layer->height - CELL * row : CELL;
    for (int64_t cell = 0; cell < count; cell++) {
        const int64_t left = layer->width - CELL * (column + cell), columns = left < CELL ? left : CELL;
        const float *from = cells + cell * made;
        const int64_t place = (CELL * row + 1) * step + (CELL * (column + cell) + 1) * outputs + group * made;
        for (int64_t channel = 0; channel < made; channel += 8, from += 8) {
            Eight turned[6][4];
#define AT(y, x) (*(const Eight *)(from + (6 * (y) + (x)) * tall * made))
#pragma GCC unroll 6
            for (int x = 0; x < 6; x++)
                AFTER(turned[x], AT(0, x), AT(1, x), AT(2, x), AT(3, x), AT(4, x), AT(5, x));
#undef AT
            const Eight bias = *(const Eight *)(layer->bias + group * made + channel), zero = {0};
            for (int64_t y = 0; y < rows; y++) {
                Eight values[4];
                AFTER(values, turned[0][y], turned[1][y], turned[2][y], turned[3][y], turned[4][y], turned[5][y]);
                for (int64_t x = 0; x < columns; x++) {
                    const int64_t at = place + y * step + x * outputs + channel;
                    Eight value = values[x] + bias;
                    if (layer->rectified == 2)
                        value = (Eight)((EightBits)value & (EightBits)(value > zero));
                    if (layer->added)
                        value += *(const Eight *)(layer->added + at);
                    if (layer->rectified == 1)
                        value = (Eight)((EightBits)value & (EightBits)(value > zero));
                    *(Eight *)(layer->result + at) = value;
                }
            }
        }
    }
}

/* Rows of cells of a convolution of 3 x 3 with a border of zeros. Returns 0, or 1 without memory. */
INLINE int cells_rows(const Layer *layer, int64_t first, int64_t last, const int wide)
{
    const int64_t depth = layer->depth, made = layer->outputs / layer->groups;
    const int64_t across = (layer->width + CELL - 1) / CELL, most = depth > made ? depth : made;
    const int64_t tall = TALL * (most > 96 ? 2 : most > 48 ? 3 : 5); /* cells that stay in the cache */
    float *memory = calloc((size_t)(PLACES * tall * (depth + made)), sizeof(float));
    if (!memory)
        return 1;
    float *given = memory, *found = memory + PLACES * tall * depth;
    for (int64_t row = first; row < last; row++)
        for (int64_t group = 0; group < layer->groups; group++)
            for (int64_t column = 0; column < across; column += tall) {
                const int64_t count = across - column < tall ? across - column : tall;
                cells_in(layer, group, row, column, count, tall, given);
                for (int64_t place = 0; place < PLACES; place++)
                    for (int64_t channel = 0; channel < made; channel += PANEL) {
                        const float *panel = layer->weights + (place * layer->outputs + group * made + channel) * depth;
                        for (int64_t cell = 0; cell < count; cell += TALL)
                            multiply(given + (place * tall + cell) * depth, depth, depth, panel, TALL, 0, 0,
                                     found + (place * tall + cell) * made + channel, made, wide);
                    }
                cells_out(layer, group, row, column, count, tall, found);
            }
    free(memory);
    return 0;
}

/* Rows of the result of a convolution of 2 x 2 with the step 2; the sides of the source are even. Returns 0, or 1
 * without memory. */
INLINE int down_rows(const Layer *layer, int64_t first, int64_t last, const int wide)
{
    const int64_t inputs = layer->inputs, outputs = layer->outputs, width = layer->width / 2;
    const int64_t depth = layer->depth, made = outputs / layer->groups;
    float *squares = malloc((size_t)(BLOCK * 4 * depth) * sizeof(float));
    if (!squares)
        return 1;
    for (int64_t y = first; y < last; y++)
        for (int64_t x = 0; x < width; x += BLOCK)
            for (int64_t group = 0; group < layer->groups; group++) {
                const int64_t count = width - x < BLOCK ? width - x : BLOCK;
                for (int64_t r = 0; r < count; r++) /* the four pixels of each, one after the other */
                    for (int64_t place = 0; place < 4; place++) {
                        const int64_t column = 2 * (x + r) + place % 2 + 1, row = 2 * y + place / 2 + 1;
                        memcpy(squares + (4 * r + place) * depth,
                               layer->source + (row * layer->source_columns + column) * inputs + group * depth,
                               (size_t)depth * sizeof(float));
                    }
                float *to = layer->result + ((y + 1) * layer->result_columns + x + 1) * outputs;
                for (int64_t channel = group * made; channel < (group + 1) * made; channel += PANEL)
                    multiply_all(squares, 4 * depth, 4 * depth, layer->weights + 4 * depth * channel, count,
                                 layer->bias + channel, 0, to + channel, outputs, wide);
            }
    free(squares);
    return 0;
}

/* Rows of a convolution of 1 x 1, of layers without borders. Returns 0. */
INLINE int points_rows(const Layer *layer, int64_t first, int64_t last, const int wide)
{
    const int64_t inputs = layer->inputs, outputs = layer->outputs, width = layer->width;
    const int64_t depth = layer->depth, made = outputs / layer->groups;
    for (int64_t y = first; y < last; y++)
        for (int64_t x = 0; x < width; x += BLOCK)
            for (int64_t channel = 0; channel < outputs; channel += PANEL) {
                const int64_t count = width - x < BLOCK ? width - x : BLOCK;
                const float *from = layer->source + (y * layer->source_columns + x) * inputs + channel / made * depth;
                multiply_all(from, inputs, depth, layer->weights + channel * depth, count, layer->bias + channel, 0,
                             layer->result + (y * layer->result_columns + x) * outputs + channel, outputs, wide);
            }
    return 0;
}

/* For rows of the source: a transposed convolution of 2 x 2 with the step 2, and a layer that is added. Returns 0. */
INLINE int up_rows(const Layer *layer, int64_t first, int64_t last, const int wide)
{
    const int64_t inputs = layer->inputs, outputs = layer->outputs, width = layer->width;
    const int64_t depth = layer->depth, made = outputs / layer->groups;
    for (int64_t y = first; y < last; y++)
        for (int64_t x = 0; x < width; x += BLOCK)
            for (int64_t quarter = 0; quarter < 4; quarter++)
                for (int64_t channel = 0; channel < outputs; channel += PANEL) {
                    const int64_t count = width - x < BLOCK ? width - x : BLOCK;
                    const int64_t row = 2 * y + quarter / 2 + 1, column = 2 * x + quarter % 2 + 1;
                    const int64_t at = (row * layer->result_columns + column) * outputs + channel;
                    const float *from = layer->source + ((y + 1) * layer->source_columns + x + 1) * inputs;
                    multiply_all(from + channel / made * depth, inputs, depth,
                                 layer->weights + (quarter * outputs + channel) * depth, count, layer->bias + channel,
                                 layer->added ? layer->added + at : 0, layer->result + at, 2 * outputs,
                                 wide);
                }
    return 0;
}

/* Each for every kind of processor. */
#if defined(WIDE)
#define FUNCTION(kind)                                                                                                 \
    WIDE static int kind##_wide(const Layer *layer, int64_t first, int64_t last)                                       \
    {                                                                                                                  \
        return kind##_rows(layer, first, last, 1);                                                                     \
    }                                                                                                                  \
    PROCESSORS static int kind##_narrow(const Layer *layer, int64_t first, int64_t last)                               \
    {                                                                                                                  \
        return kind##_rows(layer, first, last, 0);                                                                     \
    }                                                                                                                  \
    EXPORT int convolve_##kind(const Layer *layer, int64_t first, int64_t last)                                        \
    {                                                                                                                  \
        return (IS_WIDE ? kind##_wide : kind##_narrow)(layer, first, last);                                            \
    }
#else
#define FUNCTION(kind)                                                                                                 \
    EXPORT PROCESSORS int convolve_##kind(const Layer *layer, int64_t first, int64_t last)                             \
    {                                                                                                                  \
        return kind##_rows(layer, first, last, 0);                                                                     \
    }
#endif

FUNCTION(cells)
FUNCTION(points)
FUNCTION(down)
FUNCTION(up)

#endif
