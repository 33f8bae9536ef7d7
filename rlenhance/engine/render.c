/* All steps of an episode on the pixels of a row while they are in the cache: what `rlenhance.engine.render` calls.
 *
 * The formulas are those of `apply_parameters` of the action sets; tests hold them to these.
 */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include "compiled.h"

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
    int64_t kinds;                               /* of handles: strength, saturation and, where there are 3, gain */
} Guide;

/* The guide's slope and offset between two rows of its grid, (guide_columns,) each. */
INLINE void guide_row(const Guide *guide, int64_t y, float *slope, float *offset)
{
    const int64_t columns = guide->guide_columns, top = guide->tops[y] * columns, low = guide->bottoms[y] * columns;
    const float down = guide->shares[y];
    for (int64_t column = 0; column < columns; column++) {
        slope[column] = guide->slope[top + column] + down * (guide->slope[low + column] - guide->slope[top + column]);
        offset[column] = guide->offset[top + column] + down * (guide->offset[low + column] - guide->offset[top + column]);
    }
}

/* The band below each pixel, and the share of the band above it; `slope` and `offset` are those of the row. */
INLINE void band(const Guide *guide, const float *slope, const float *offset, int64_t start, int64_t count,
                 const float (*image)[SEGMENT], int32_t bands, int32_t *below, float *above)
{
    float slopes[SEGMENT] = {0}, levels[SEGMENT] = {0};
    int32_t places[SEGMENT];
    for (int64_t i = 0; i < PADDED(count); i++) {
        const float r = image[0][i], g = image[1][i], b = image[2][i];
        float most = r > g ? r : g;
        most = most > b ? most : b;
        places[i] = (int32_t)((3.0f * most + r + g + b) * guide->table_top + 0.5f);
    }
    for (int64_t i = 0; i < count; i++)
        levels[i] = guide->levels[places[i]];
    for (int64_t i = 0, end; i < count; i = end) { /* pixels between the same two columns of the guide's grid */
        const int64_t left = guide->lefts[start + i], right = guide->rights[start + i];
        for (end = i + 1; end < count && guide->lefts[start + end] == left; end++)
            ;
        for (int64_t k = i; k < end; k++) {
            slopes[k] = slope[left] + guide->parts[start + k] * (slope[right] - slope[left]);
            above[k] = offset[left] + guide->parts[start + k] * (offset[right] - offset[left]);
        }
    }
    for (int64_t i = count; i < PADDED(count); i++)
        above[i] = 0.0f;
    for (int64_t i = 0; i < PADDED(count); i++) {
        float value = slopes[i] * levels[i] + above[i];
        value = (value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value) * (float)(bands - 1);
        int32_t whole = (int32_t)value;
        whole = whole > bands - 2 ? bands - 2 : whole;
        below[i] = whole;
        above[i] = value - (float)whole;
    }
}

/* A value for each pixel from a table over the bands: `low` of the band below it and `step` to the one above, both
 * between two columns of the grid. Tables of eight entries stay in registers. */
#if defined(__GNUC__) && defined(__x86_64__) && !defined(__clang__)
#define IN_REGISTERS 8
typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t EightPlaces __attribute__((vector_size(32), aligned(4), may_alias));

INLINE void look_up_eight(const float *low, const float *step, const float *to_low, const float *to_step,
                          const int32_t *below, const float *above, const float *part, int64_t count, float *found)
{
    const Eight lows = *(const Eight *)low, steps = *(const Eight *)step, to_lows = *(const Eight *)to_low,
                to_steps = *(const Eight *)to_step;
    for (int64_t i = 0; i < PADDED(count); i += 8) {
        const EightPlaces place = *(const EightPlaces *)(below + i);
        const Eight share = *(const Eight *)(part + i), up = *(const Eight *)(above + i);
        const Eight from = __builtin_shuffle(lows, place) + share * __builtin_shuffle(to_lows, place);
        *(Eight *)(found + i) = from + up * (__builtin_shuffle(steps, place) + share * __builtin_shuffle(to_steps, place));
    }
}
#else
#define IN_REGISTERS 0
#define look_up_eight look_up
#endif

INLINE void look_up(const float *low, const float *step, const float *to_low, const float *to_step,
                    const int32_t *below, const float *above, const float *part, int64_t count, float *found)
{
    for (int64_t i = 0; i < PADDED(count); i++) {
        const int32_t place = below[i];
        found[i] = low[place] + part[i] * to_low[place] + above[i] * (step[place] + part[i] * to_step[place]);
    }
}

/* All steps of `BilateralActions.apply_parameters` between two columns of the agents' grid. */
INLINE void bilateral(float (*image)[SEGMENT], const float *part, int64_t count, const Plan *plan, const float *rows,
                      int64_t segment, int64_t kinds, const int32_t *below, const float *above)
{
    const int64_t columns = plan->grid_columns, left = plan->lefts[segment], right = plan->rights[segment];
    const int64_t bands = plan->heads / kinds;
    float *restrict red = image[0], *restrict green = image[1], *restrict blue = image[2];
    float values[3][SEGMENT]; /* strength, saturation, gain */
    const float *restrict strengths = values[0], *restrict saturations = values[1], *restrict gains = values[2];
    for (int64_t step = 0; step < plan->steps; step++, rows += plan->heads * columns) {
        float tables[3][4][32]; /* strength, saturation, gain; low, step, and both to the next column */
        for (int64_t place = 0; place < 8; place++) /* what is read with fewer bands */
            for (int64_t table = 0; table < 12; table++)
                tables[table / 4][table % 4][place] = 0.0f;
        for (int64_t kind = 0; kind < kinds; kind++)
            for (int64_t place = 0; place + 1 < bands; place++) {
                const float *own = rows + (kind * bands + place) * columns, *next = own + columns;
                const float low = own[left], high = next[left], to_low = own[right] - low, to_high = next[right] - high;
                tables[kind][0][place] = low;
                tables[kind][1][place] = high - low;
                tables[kind][2][place] = to_low;
                tables[kind][3][place] = to_high - to_low;
            }
        for (int64_t kind = 0; kind < kinds; kind++) {
            const float (*table)[32] = (const float (*)[32])tables[kind];
            float *found = values[kind];
            if (bands - 1 <= IN_REGISTERS)
                look_up_eight(table[0], table[1], table[2], table[3], below, above, part, count, found);
            else
                look_up(table[0], table[1], table[2], table[3], below, above, part, count, found);
        }
        for (int64_t i = 0; i < PADDED(count); i++) {
            const float r = red[i], g = green[i], b = blue[i], saturation = saturations[i], strength = strengths[i];
            const float more = saturation > 0.0f ? saturation : 0.0f, less = saturation - more;
            const float light = (r + g + b) * (1.0f / 3.0f);
            const float new_red = r + within(strength + more * (r - light)) * (r * (1.0f - r));
            const float new_green = g + within(strength + more * (g - light)) * (g * (1.0f - g));
            const float new_blue = b + within(strength + more * (b - light)) * (b * (1.0f - b));
            const float mean = (new_red + new_green + new_blue) * (1.0f / 3.0f);
            red[i] = new_red + less * (new_red - mean);
            green[i] = new_green + less * (new_green - mean);
            blue[i] = new_blue + less * (new_blue - mean);
        }
        if (kinds < 3)
            continue;
        for (int64_t i = 0; i < PADDED(count); i++) {
            const float r = red[i], g = green[i], b = blue[i], gain = gains[i];
            float top = r > g ? r : g;
            top = top > b ? top : b;
            top *= top;
            top *= top;
            const float factor = sqrtf(sqrtf((1.0f + gain) / (1.0f + gain * top)));
            red[i] = r * factor;
            green[i] = g * factor;
            blue[i] = b * factor;
        }
    }
}

/* `rows` are the handles of the row, see `row_of`; with a guide, its slope and offset follow, see `guide_row`. */
INLINE void bend(float (*image)[SEGMENT], const float *part, int64_t count, const Plan *plan, const Guide *guide,
                 const float *rows, int64_t segment)
{
    if (guide) {
        int32_t below[SEGMENT];
        float above[SEGMENT];
        const float *slope = rows + plan->steps * plan->heads * plan->grid_columns;
        band(guide, slope, slope + guide->guide_columns, plan->starts[segment], count, (const float (*)[SEGMENT])image,
             (int32_t)(plan->heads / guide->kinds), below, above);
        bilateral(image, part, count, plan, rows, segment, guide->kinds, below, above);
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

/* Room for what a row of pixels shares, and these numbers. */
INLINE float *new_rows(const Plan *plan, const Guide *guide)
{
    const int64_t more = guide ? 2 * guide->guide_columns : 0;
    return malloc(sizeof(float) * (size_t)(plan->steps * plan->heads * plan->grid_columns + more));
}

INLINE void fill_rows(const Plan *plan, const Guide *guide, int64_t y, float *rows)
{
    row_of(plan, y, rows);
    if (guide) {
        float *slope = rows + plan->steps * plan->heads * plan->grid_columns;
        guide_row(guide, y, slope, slope + guide->guide_columns);
    }
}

/* Rows first to last of (3, height, width) float32. */
EXPORT PROCESSORS int render_planes(const Plan *plan, const Guide *guide, int64_t first, int64_t last,
                                  const float *source, float *result)
{
    float image[3][SEGMENT] = {{0}};
    const int64_t size = plan->height * plan->width;
    float *rows = new_rows(plan, guide);
    if (!rows)
        return 1;
    for (int64_t y = first; y < last; y++) {
        fill_rows(plan, guide, y, rows);
        for (int64_t segment = 0; segment < plan->segments; segment++) {
            const int64_t start = plan->starts[segment], count = plan->starts[segment + 1] - start;
            for (int64_t channel = 0; channel < 3; channel++)
                for (int64_t i = 0; i < count; i++)
                    image[channel][i] = source[channel * size + y * plan->width + start + i];
            bend(image, plan->parts + start, count, plan, guide, rows, segment);
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

/* The same for (height, width, 3) of whole numbers up to `top`, rounded to the nearest. `result` may be `source`. */
#define SWEEP_PIXELS(NAME, NUMBER)                                                                                     \
    EXPORT PROCESSORS int NAME(const Plan *plan, const Guide *guide, int64_t first, int64_t last, const NUMBER *source,\
                               NUMBER *result, float top, float strength)                                              \
    {                                                                                                                  \
        float image[3][SEGMENT] = {{0}}, before[3][SEGMENT] = {{0}};                                                   \
        NUMBER own[3 * SEGMENT];                                                                                       \
        const float scale = 1.0f / top;                                                                                \
        float *rows = new_rows(plan, guide);                                                                           \
        if (!rows)                                                                                                     \
            return 1;                                                                                                  \
        for (int64_t y = first; y < last; y++) {                                                                       \
            fill_rows(plan, guide, y, rows);                                                                           \
            for (int64_t segment = 0; segment < plan->segments; segment++) {                                           \
                const int64_t start = plan->starts[segment], count = plan->starts[segment + 1] - start;                \
                const int64_t place = 3 * (y * plan->width + start);                                                   \
                memcpy(own, source + place, sizeof(NUMBER) * (size_t)(3 * count));                                     \
                for (int64_t i = 0; i < count; i++)                                                                    \
                    for (int64_t channel = 0; channel < 3; channel++)                                                  \
                        before[channel][i] = (float)own[3 * i + channel];                                              \
                for (int64_t channel = 0; channel < 3; channel++)                                                      \
                    for (int64_t i = 0; i < SEGMENT; i++)                                                              \
                        image[channel][i] = before[channel][i] * scale;                                                \
                bend(image, plan->parts + start, count, plan, guide, rows, segment);                                   \
                blend(before, image, count, top, strength);                                                            \
                for (int64_t i = 0; i < count; i++)                                                                    \
                    for (int64_t channel = 0; channel < 3; channel++)                                                  \
                        own[3 * i + channel] = (NUMBER)(int32_t)image[channel][i];                                     \
                memcpy(result + place, own, sizeof(NUMBER) * (size_t)(3 * count));                                     \
            }                                                                                                          \
        }                                                                                                              \
        free(rows);                                                                                                    \
        return 0;                                                                                                      \
    }

SWEEP_PIXELS(render_bytes, uint8_t)
SWEEP_PIXELS(render_words, uint16_t)

/* Nothing: that it is there tells `compiled_functions` that `Guide` has `kinds`. */
EXPORT void renders_gains(void) {}

/* Python imports it as an empty module; ctypes calls the functions above, which leaves the interpreter free. */
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_compiled", 0, -1, 0, 0, 0, 0, 0};

PyMODINIT_FUNC PyInit__compiled(void) { return PyModule_Create(&module); }
