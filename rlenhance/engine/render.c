/* All steps of an episode on the pixels of a row while they are in the cache: what `rlenhance.engine.render` calls.
 *
 * The formulas are those of `apply_parameters` of the action sets; tests hold them to these.
 */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* One body for each kind of processor, chosen when the library is loaded. */
#if defined(__GNUC__) && defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define PROCESSORS __attribute__((target_clones("avx512f", "avx2", "default")))
#define INLINE static inline __attribute__((always_inline))
#else
#define PROCESSORS
#define INLINE static inline
#endif

#define SEGMENT 512 /* pixels that are bent at once; `rlenhance.engine.render` never asks for more */
#define LANES 16    /* work is done in whole multiples: what is left over would be rounded by other instructions */
#define PADDED(count) (((count) + LANES - 1) / LANES * LANES)

/* What all rows share: see `Axis` and `Sweep` for the meanings. */
typedef struct {
    const float *handles;                        /* (steps, heads, grid_rows, grid_columns) */
    int64_t steps, heads, grid_rows, grid_columns;
    const int64_t *tops, *bottoms;               /* (height,) rows of the grid on either side of a row of pixels */
    const float *shares;                         /* (height,) */
    const int64_t *starts, *lefts, *rights;      /* (segments + 1,), (segments,), (segments,) */
    const float *parts;                          /* (width + LANES,) */
    int64_t segments, height, width;
} Plan;

/* Handles between two rows of the grid: rows (steps, heads, grid_columns). */
INLINE void row_of(const Plan *plan, int64_t y, float *rows)
{
    const int64_t columns = plan->grid_columns, cells = plan->grid_rows * columns;
    const float share = plan->shares[y];
    for (int64_t head = 0; head < plan->steps * plan->heads; head++) {
        const float *above = plan->handles + head * cells + plan->tops[y] * columns;
        const float *below = plan->handles + head * cells + plan->bottoms[y] * columns;
        for (int64_t column = 0; column < columns; column++)
            rows[head * columns + column] = above[column] + share * (below[column] - above[column]);
    }
}

INLINE float within(float value) { return value < -1.0f ? -1.0f : value > 1.0f ? 1.0f : value; }

/* `Tone.bend` between two columns of the grid. */
INLINE void tone(float *restrict red, float *restrict green, float *restrict blue, const float *restrict part,
                 int64_t count, const float *rows, int64_t columns, int64_t left, int64_t right)
{
    const float bend = rows[left], contrast = rows[columns + left], highlights = rows[2 * columns + left],
                saturation = rows[3 * columns + left];
    const float to_bend = rows[right] - bend, to_contrast = rows[columns + right] - contrast,
                to_highlights = rows[2 * columns + right] - highlights,
                to_saturation = rows[3 * columns + right] - saturation;
    for (int64_t i = 0; i < count; i++) {
        const float share = part[i], r = red[i], g = green[i], b = blue[i];
        const float level = (r + g + b) * (1.0f / 3.0f);
        float burning = r > g ? r : g;
        burning = burning > b ? burning : b;
        burning *= burning;
        burning *= burning;
        burning *= burning;
        const float own = saturation + share * to_saturation;
        const float common = bend + share * to_bend + (contrast + share * to_contrast) * (2.0f * level - 1.0f)
                             - (highlights + share * to_highlights) * burning - own * level;
        red[i] = r + within(common + own * r) * (r * (1.0f - r));
        green[i] = g + within(common + own * g) * (g * (1.0f - g));
        blue[i] = b + within(common + own * b) * (b * (1.0f - b));
    }
}

/* `Curve.bend` of one channel between two columns of the grid. */
INLINE void curve(float *restrict image, const float *restrict part, int64_t count, float bend, float to_bend)
{
    for (int64_t i = 0; i < count; i++)
        image[i] += (bend + part[i] * to_bend) * (image[i] * (1.0f - image[i]));
}

/* What `BilateralActions` need beside the plan: the guide is slope * level + offset, on a grid of its own, and the level
 * of a pixel stands in a table by the sum of its largest channel, three times, and its channels. */
typedef struct {
    const float *slope, *offset;                 /* (guide_rows, guide_columns) */
    int64_t guide_columns;
    const int64_t *tops, *bottoms;               /* (height,) rows of the guide's grid on either side */
    const float *shares;                         /* (height,) */
    const int64_t *lefts, *rights;               /* (width,) */
    const float *parts;                          /* (width,) */
    const float *levels;                         /* (6 * table_top + 1,) */
    float table_top;                             /* values of a channel in the table */
} Guide;

/* The band below each pixel, and the share of the band above it. */
INLINE void band(const Guide *guide, int64_t y, int64_t start, int64_t count, const float (*image)[SEGMENT],
                 int32_t bands, int32_t *below, float *above)
{
    const float *top_slope = guide->slope + guide->tops[y] * guide->guide_columns;
    const float *low_slope = guide->slope + guide->bottoms[y] * guide->guide_columns;
    const float *top_offset = guide->offset + guide->tops[y] * guide->guide_columns;
    const float *low_offset = guide->offset + guide->bottoms[y] * guide->guide_columns;
    const float down = guide->shares[y];
    for (int64_t i = 0; i < count; i++) {
        const int64_t left = guide->lefts[start + i], right = guide->rights[start + i];
        const float across = guide->parts[start + i], r = image[0][i], g = image[1][i], b = image[2][i];
        const float slope_left = top_slope[left] + down * (low_slope[left] - top_slope[left]);
        const float slope_right = top_slope[right] + down * (low_slope[right] - top_slope[right]);
        const float offset_left = top_offset[left] + down * (low_offset[left] - top_offset[left]);
        const float offset_right = top_offset[right] + down * (low_offset[right] - top_offset[right]);
        float most = r > g ? r : g;
        most = most > b ? most : b;
        const float level = guide->levels[(int32_t)((3.0f * most + r + g + b) * guide->table_top + 0.5f)];
        float value = (slope_left + across * (slope_right - slope_left)) * level
                      + offset_left + across * (offset_right - offset_left);
        value = (value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value) * (float)(bands - 1);
        int32_t whole = (int32_t)value;
        whole = whole > bands - 2 ? bands - 2 : whole;
        below[i] = whole;
        above[i] = value - (float)whole;
    }
}

/* All steps of `BilateralActions.apply_parameters` between two columns of the agents' grid. */
INLINE void bilateral(float (*image)[SEGMENT], const float *part, int64_t count, const Plan *plan, const float *rows,
                      int64_t segment, const int32_t *below, const float *above)
{
    const int64_t columns = plan->grid_columns, left = plan->lefts[segment], right = plan->rights[segment];
    const int64_t bands = plan->heads / 2;
    float table[2][64];
    for (int64_t step = 0; step < plan->steps; step++, rows += plan->heads * columns) {
        for (int64_t head = 0; head < plan->heads; head++) {
            table[0][head] = rows[head * columns + left];
            table[1][head] = rows[head * columns + right] - rows[head * columns + left];
        }
        for (int64_t i = 0; i < count; i++) {
            const float share = part[i], r = image[0][i], g = image[1][i], b = image[2][i], up = above[i];
            const int32_t band = below[i], other = band + (int32_t)bands;
            const float low = table[0][band] + share * table[1][band];
            const float high = table[0][band + 1] + share * table[1][band + 1];
            const float grey = table[0][other] + share * table[1][other];
            const float bright = table[0][other + 1] + share * table[1][other + 1];
            const float strength = low + up * (high - low), saturation = grey + up * (bright - grey);
            const float more = saturation > 0.0f ? saturation : 0.0f, less = saturation - more;
            const float light = (r + g + b) * (1.0f / 3.0f);
            const float red = r + within(strength + more * (r - light)) * (r * (1.0f - r));
            const float green = g + within(strength + more * (g - light)) * (g * (1.0f - g));
            const float blue = b + within(strength + more * (b - light)) * (b * (1.0f - b));
            const float mean = (red + green + blue) * (1.0f / 3.0f);
            image[0][i] = red + less * (red - mean);
            image[1][i] = green + less * (green - mean);
            image[2][i] = blue + less * (blue - mean);
        }
    }
}

INLINE void bend(float (*image)[SEGMENT], const float *part, int64_t count, const Plan *plan, const Guide *guide,
                 const float *rows, int64_t segment, int64_t y)
{
    if (guide) {
        int32_t below[SEGMENT];
        float above[SEGMENT];
        band(guide, y, plan->starts[segment], count, (const float (*)[SEGMENT])image, (int32_t)plan->heads / 2, below,
             above);
        bilateral(image, part, count, plan, rows, segment, below, above);
        return;
    }
    const int64_t columns = plan->grid_columns, left = plan->lefts[segment], right = plan->rights[segment];
    count = PADDED(count);
    for (int64_t step = 0; step < plan->steps; step++, rows += plan->heads * columns) {
        if (plan->heads == 4) {
            tone(image[0], image[1], image[2], part, count, rows, columns, left, right);
            continue;
        }
        for (int64_t channel = 0; channel < 3; channel++) {
            const float *own = rows + (plan->heads == 1 ? 0 : channel) * columns;
            curve(image[channel], part, count, own[left], own[right] - own[left]);
        }
    }
}

/* Rows first to last of (3, height, width) float32. */
EXPORT PROCESSORS int render_planes(const Plan *plan, const Guide *guide, int64_t first, int64_t last,
                                  const float *source, float *result)
{
    float image[3][SEGMENT] = {{0}};
    const int64_t size = plan->height * plan->width;
    float *rows = malloc(sizeof(float) * (size_t)(plan->steps * plan->heads * plan->grid_columns));
    if (!rows)
        return 1;
    for (int64_t y = first; y < last; y++) {
        row_of(plan, y, rows);
        for (int64_t segment = 0; segment < plan->segments; segment++) {
            const int64_t start = plan->starts[segment], count = plan->starts[segment + 1] - start;
            for (int64_t channel = 0; channel < 3; channel++)
                for (int64_t i = 0; i < count; i++)
                    image[channel][i] = source[channel * size + y * plan->width + start + i];
            bend(image, plan->parts + start, count, plan, guide, rows, segment, y);
            for (int64_t channel = 0; channel < 3; channel++)
                for (int64_t i = 0; i < count; i++)
                    result[channel * size + y * plan->width + start + i] = image[channel][i];
        }
    }
    free(rows);
    return 0;
}

/* What is rounded down to the whole number nearest to the blend. */
INLINE void blend(const float (*before)[SEGMENT], float (*after)[SEGMENT], int64_t count, float top, float strength)
{
    for (int64_t channel = 0; channel < 3; channel++)
        for (int64_t i = 0; i < PADDED(count); i++) {
            const float old = before[channel][i];
            const float value = old + strength * (after[channel][i] * top - old) + 0.5f;
            after[channel][i] = value < 0.5f ? 0.5f : value > top + 0.5f ? top + 0.5f : value;
        }
}

/* The same for (height, width, 3) of whole numbers up to `top`, rounded to the nearest. */
#define SWEEP_PIXELS(NAME, NUMBER)                                                                                     \
    EXPORT PROCESSORS int NAME(const Plan *plan, const Guide *guide, int64_t first, int64_t last, const NUMBER *source,\
                               NUMBER *result, float top, float strength)                                              \
    {                                                                                                                  \
        float image[3][SEGMENT] = {{0}}, before[3][SEGMENT] = {{0}};                                                   \
        const float scale = 1.0f / top;                                                                                \
        float *rows = malloc(sizeof(float) * (size_t)(plan->steps * plan->heads * plan->grid_columns));                \
        if (!rows)                                                                                                     \
            return 1;                                                                                                  \
        for (int64_t y = first; y < last; y++) {                                                                       \
            row_of(plan, y, rows);                                                                                     \
            for (int64_t segment = 0; segment < plan->segments; segment++) {                                           \
                const int64_t start = plan->starts[segment], count = plan->starts[segment + 1] - start;                \
                const NUMBER *restrict from = source + 3 * (y * plan->width + start);                                  \
                NUMBER *restrict to = result + 3 * (y * plan->width + start);                                          \
                for (int64_t i = 0; i < count; i++)                                                                    \
                    for (int64_t channel = 0; channel < 3; channel++)                                                  \
                        before[channel][i] = (float)from[3 * i + channel];                                             \
                for (int64_t channel = 0; channel < 3; channel++)                                                      \
                    for (int64_t i = 0; i < SEGMENT; i++)                                                              \
                        image[channel][i] = before[channel][i] * scale;                                                \
                bend(image, plan->parts + start, count, plan, guide, rows, segment, y);                                \
                blend(before, image, count, top, strength);                                                            \
                for (int64_t i = 0; i < count; i++)                                                                    \
                    for (int64_t channel = 0; channel < 3; channel++)                                                  \
                        to[3 * i + channel] = (NUMBER)(int32_t)image[channel][i];                                      \
            }                                                                                                          \
        }                                                                                                              \
        free(rows);                                                                                                    \
        return 0;                                                                                                      \
    }

SWEEP_PIXELS(render_bytes, uint8_t)
SWEEP_PIXELS(render_words, uint16_t)

/* Python imports it as an empty module; ctypes calls the functions above, which leaves the interpreter free. */
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_compiled", 0, -1, 0, 0, 0, 0, 0};

PyMODINIT_FUNC PyInit__compiled(void) { return PyModule_Create(&module); }
