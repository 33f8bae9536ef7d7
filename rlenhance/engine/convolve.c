/* Convolutions of small networks: what `rlenhance.engine.convolutions` calls.
 *
 * Layers are (rows, columns, channels) float32 with a border of one pixel of zeros, and further zeros until rows and
 * columns are whole cells of four. Kernels of 3 x 3 are computed by Winograd's F(4 x 4, 3 x 3): a quarter of the
 * multiplications (Lavin and Gray 2016). Every cell is computed in one way, so that threads do not show.
 */
#include "compiled.h"

#if defined(__GNUC__)

typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t EightBits __attribute__((vector_size(32), aligned(4), may_alias));

#define PANEL 16  /* channels that are computed at once: two vectors */
#define TALL 6    /* pixels or cells that are computed at once */
#define CELL 4    /* pixels along a cell */
#define PLACES 36 /* values of a cell and its surroundings, after the transform */

typedef struct {
    const float *source, *weights, *bias; /* weights in panels, see `convolutions.py` */
    const float *added;                   /* a layer like the result, or null; it may be the result */
    float *result;
    int64_t height, width;                /* of the source, without its border */
    int64_t source_columns, result_columns; /* with their borders */
    int64_t inputs, outputs;              /* channels: multiples of 8 and of 16 */
    int64_t rectified;
} Layer;

/* Some rows of a product: to[r, 0..15] = start[r, 0..15] + sum over k of a[r, k] panel[k, 0..15]. */
INLINE void multiply(const float *a, int64_t a_step, int64_t depth, const float *panel, const int rows,
                     const float *start, int64_t start_step, float *to, int64_t to_step)
{
    Eight sums[TALL][2];
    for (int r = 0; r < rows; r++)
        for (int part = 0; part < 2; part++)
            sums[r][part] = start ? *(const Eight *)(start + r * start_step + 8 * part) : (Eight){0};
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

/* Cells `column` to `column + count` of a row of cells, transformed: (PLACES, tall, inputs). */
INLINE void cells_in(const Layer *layer, int64_t row, int64_t column, int64_t count, int64_t tall, float *cells)
{
    const int64_t inputs = layer->inputs, step = layer->source_columns * inputs;
    for (int64_t cell = 0; cell < count; cell++) {
        const float *from = layer->source + CELL * (row * step + (column + cell) * inputs);
        float *to = cells + cell * inputs;
        for (int64_t channel = 0; channel < inputs; channel += 8, from += 8, to += 8) {
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
                    *(Eight *)(to + (6 * y + x) * tall * inputs) = values[x];
            }
        }
    }
}

/* The pixels of these cells from their products (PLACES, tall, outputs). */
INLINE void cells_out(const Layer *layer, int64_t row, int64_t column, int64_t count, int64_t tall, const float *cells)
{
    const int64_t outputs = layer->outputs, step = layer->result_columns * outputs;
    const int64_t rows = layer->height - CELL * row < CELL ? layer->height - CELL * row : CELL;
    for (int64_t cell = 0; cell < count; cell++) {
        const int64_t left = layer->width - CELL * (column + cell), columns = left < CELL ? left : CELL;
        const float *from = cells + cell * outputs;
        const int64_t place = (CELL * row + 1) * step + (CELL * (column + cell) + 1) * outputs;
        for (int64_t channel = 0; channel < outputs; channel += 8, from += 8) {
            Eight turned[6][4];
#define AT(y, x) (*(const Eight *)(from + (6 * (y) + (x)) * tall * outputs))
#pragma GCC unroll 6
            for (int x = 0; x < 6; x++)
                AFTER(turned[x], AT(0, x), AT(1, x), AT(2, x), AT(3, x), AT(4, x), AT(5, x));
#undef AT
            const Eight bias = *(const Eight *)(layer->bias + channel), zero = {0};
            for (int64_t y = 0; y < rows; y++) {
                Eight values[4];
                AFTER(values, turned[0][y], turned[1][y], turned[2][y], turned[3][y], turned[4][y], turned[5][y]);
                for (int64_t x = 0; x < columns; x++) {
                    const int64_t at = place + y * step + x * outputs + channel;
                    Eight value = values[x] + bias;
                    if (layer->added)
                        value += *(const Eight *)(layer->added + at);
                    if (layer->rectified)
                        value = (Eight)((EightBits)value & (EightBits)(value > zero));
                    *(Eight *)(layer->result + at) = value;
                }
            }
        }
    }
}

/* Rows of cells of a convolution of 3 x 3 with a border of zeros. Returns 0, or 1 without memory. */
EXPORT PROCESSORS int convolve_cells(const Layer *layer, int64_t first, int64_t last)
{
    const int64_t inputs = layer->inputs, outputs = layer->outputs, across = (layer->width + CELL - 1) / CELL;
    const int64_t most = inputs > outputs ? inputs : outputs;
    const int64_t tall = TALL * (most > 96 ? 2 : most > 48 ? 3 : 5); /* cells that stay in the cache */
    float *memory = calloc((size_t)(PLACES * tall * (inputs + outputs)), sizeof(float));
    if (!memory)
        return 1;
    float *given = memory, *found = memory + PLACES * tall * inputs;
    for (int64_t row = first; row < last; row++)
        for (int64_t column = 0; column < across; column += tall) {
            const int64_t count = across - column < tall ? across - column : tall;
            cells_in(layer, row, column, count, tall, given);
            for (int64_t place = 0; place < PLACES; place++)
                for (int64_t channel = 0; channel < outputs; channel += PANEL) {
                    const float *panel = layer->weights + (place * outputs + channel) * inputs;
                    for (int64_t cell = 0; cell < count; cell += TALL)
                        multiply(given + (place * tall + cell) * inputs, inputs, inputs, panel, TALL, 0, 0,
                                 found + (place * tall + cell) * outputs + channel, outputs);
                }
            cells_out(layer, row, column, count, tall, found);
        }
    free(memory);
    return 0;
}

/* Rows of the result of a convolution of 2 x 2 with the step 2; the sides of the source are even. */
EXPORT PROCESSORS int convolve_down(const Layer *layer, int64_t first, int64_t last)
{
    const int64_t inputs = layer->inputs, outputs = layer->outputs, width = layer->width / 2;
    float starts[TALL * PANEL];
    for (int64_t channel = 0; channel < outputs; channel += PANEL) {
        const float *panel = layer->weights + 4 * inputs * channel;
        for (int64_t r = 0; r < TALL * PANEL; r++)
            starts[r] = layer->bias[channel + r % PANEL];
        for (int64_t y = first; y < last; y++) {
            const float *above = layer->source + ((2 * y + 1) * layer->source_columns + 1) * inputs;
            const float *below = above + layer->source_columns * inputs;
            float *to = layer->result + ((y + 1) * layer->result_columns + 1) * outputs + channel;
            for (int64_t x = 0; x < width;) {
                const int64_t a = 2 * x * inputs, b = x * outputs;
                if (width - x >= TALL) {
                    multiply(above + a, 2 * inputs, 2 * inputs, panel, TALL, starts, PANEL, to + b, outputs);
                    multiply(below + a, 2 * inputs, 2 * inputs, panel + 2 * inputs * PANEL, TALL, to + b, outputs, to + b,
                             outputs);
                    x += TALL;
                } else {
                    multiply(above + a, 2 * inputs, 2 * inputs, panel, 1, starts, PANEL, to + b, outputs);
                    multiply(below + a, 2 * inputs, 2 * inputs, panel + 2 * inputs * PANEL, 1, to + b, outputs, to + b,
                             outputs);
                    x++;
                }
            }
        }
    }
    return 0;
}

/* For rows of the source: a transposed convolution of 2 x 2 with the step 2, and a layer that is added. */
EXPORT PROCESSORS int convolve_up(const Layer *layer, int64_t first, int64_t last)
{
    const int64_t inputs = layer->inputs, outputs = layer->outputs, width = layer->width;
    float starts[TALL * PANEL];
    for (int64_t quarter = 0; quarter < 4; quarter++)
        for (int64_t channel = 0; channel < outputs; channel += PANEL) {
            const float *panel = layer->weights + (quarter * outputs + channel) * inputs;
            for (int64_t y = first; y < last; y++) {
                const float *from = layer->source + ((y + 1) * layer->source_columns + 1) * inputs;
                const int64_t place = ((2 * y + quarter / 2 + 1) * layer->result_columns + quarter % 2 + 1) * outputs + channel;
                for (int64_t x = 0; x < width;) {
                    const int64_t rows = width - x >= TALL ? TALL : 1, at = place + 2 * x * outputs;
                    for (int64_t r = 0; r < rows; r++)
                        for (int64_t k = 0; k < PANEL; k++)
                            starts[r * PANEL + k] = layer->bias[channel + k]
                                                    + (layer->added ? layer->added[at + 2 * r * outputs + k] : 0.0f);
                    if (rows == TALL)
                        multiply(from + x * inputs, inputs, inputs, panel, TALL, starts, PANEL, layer->result + at,
                                 2 * outputs);
                    else
                        multiply(from + x * inputs, inputs, inputs, panel, 1, starts, PANEL, layer->result + at,
                                 2 * outputs);
                    x += rows;
                }
            }
        }
    return 0;
}

#endif
