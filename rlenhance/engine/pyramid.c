/* Noise of a large picture band by band, in the memory of a band: what `rlenhance.ops.noise_pyramid` calls.
 *
 * The formulas are those of `shrink_noise`; tests hold them to these. Rows of pixels are three planes of floats,
 * (3, width). Each row is computed in one way, whatever its band is, so that bands do not show.
 */
#include "compiled.h"

#define MOST_LEVELS 12

typedef struct {
    int64_t first, last;
} Rows;

/* `height` x `width` pixels of one level; `pixels` holds the rows `kept`, and `clean` the rows `wanted`. */
typedef struct {
    int64_t height, width;
    Rows wanted, half, energy, kept; /* half: rows of the level above that are doubled; energy: with a row around */
    float *pixels, *clean;
} Level;

/* A band, its surroundings, and what is known of the whole. */
typedef struct {
    const void *given;        /* rows `first` to `last` of the picture, (rows, width, 3) */
    void *result;             /* rows `top` to `bottom` */
    int64_t bytes;            /* of a value: 1, 2, or 4 (float) */
    int64_t first, last, top, bottom, height, width, levels;
    const float *coarse, *clean; /* the picture reduced by 2**levels, and without its noise: (rows, 3, columns) */
    const float *noise;       /* (noise_rows, noise_columns) */
    int64_t noise_rows, noise_columns;
    float strength, reduced, light, color; /* shares of the noise, see `REDUCED`, `_LIGHT` and `_COLOR` */
} Band;

INLINE int64_t at_least(int64_t value, int64_t least) { return value < least ? least : value; }
INLINE int64_t at_most(int64_t value, int64_t most) { return value > most ? most : value; }
INLINE int64_t inside(int64_t value, int64_t count) { return at_most(at_least(value, 0), count - 1); }

INLINE float scale_of(const Band *band) { return band->bytes == 1 ? 255.0f : band->bytes == 2 ? 65535.0f : 1.0f; }

/* A row of the picture as floats in [0, 1]. */
INLINE void load_row(const Band *band, int64_t y, float *restrict row)
{
    const int64_t width = band->width, place = 3 * width * (y - band->first);
    float *restrict red = row, *restrict green = row + width, *restrict blue = row + 2 * width;
    const float scale = 1.0f / scale_of(band);
    if (band->bytes == 1) {
        const uint8_t *restrict from = (const uint8_t *)band->given + place;
        for (int64_t x = 0; x < width; x++) {
            red[x] = (float)from[3 * x] * scale;
            green[x] = (float)from[3 * x + 1] * scale;
            blue[x] = (float)from[3 * x + 2] * scale;
        }
    } else if (band->bytes == 2) {
        const uint16_t *restrict from = (const uint16_t *)band->given + place;
        for (int64_t x = 0; x < width; x++) {
            red[x] = (float)from[3 * x] * scale;
            green[x] = (float)from[3 * x + 1] * scale;
            blue[x] = (float)from[3 * x + 2] * scale;
        }
    } else {
        const float *restrict from = (const float *)band->given + place;
        for (int64_t x = 0; x < width; x++) {
            red[x] = from[3 * x];
            green[x] = from[3 * x + 1];
            blue[x] = from[3 * x + 2];
        }
    }
}

/* A row of floats, in the kind of number of the picture. */
INLINE void store_row(const Band *band, int64_t y, float *restrict row)
{
    const int64_t width = band->width, place = 3 * width * (y - band->top);
    const float top = scale_of(band), more = band->bytes == 4 ? 0.0f : 0.5f;
    for (int64_t x = 0; x < 3 * width; x++) {
        const float value = row[x] * top + more;
        row[x] = value < more ? more : value > top + more ? top + more : value;
    }
    const float *restrict red = row, *restrict green = row + width, *restrict blue = row + 2 * width;
    if (band->bytes == 1) {
        uint8_t *restrict to = (uint8_t *)band->result + place;
        for (int64_t x = 0; x < width; x++) {
            to[3 * x] = (uint8_t)(int32_t)red[x];
            to[3 * x + 1] = (uint8_t)(int32_t)green[x];
            to[3 * x + 2] = (uint8_t)(int32_t)blue[x];
        }
    } else if (band->bytes == 2) {
        uint16_t *restrict to = (uint16_t *)band->result + place;
        for (int64_t x = 0; x < width; x++) {
            to[3 * x] = (uint16_t)(int32_t)red[x];
            to[3 * x + 1] = (uint16_t)(int32_t)green[x];
            to[3 * x + 2] = (uint16_t)(int32_t)blue[x];
        }
    } else {
        float *restrict to = (float *)band->result + place;
        for (int64_t x = 0; x < width; x++) {
            to[3 * x] = red[x];
            to[3 * x + 1] = green[x];
            to[3 * x + 2] = blue[x];
        }
    }
}

/* Means of 2 x 2 values of two rows; the last column is repeated. */
INLINE void halve_row(const float *restrict above, const float *restrict below, int64_t width, float *restrict half)
{
    for (int64_t x = 0; x < width / 2; x++)
        half[x] = ((above[2 * x] + above[2 * x + 1]) + (below[2 * x] + below[2 * x + 1])) * 0.25f;
    if (width % 2)
        half[width / 2] = (above[width - 1] + below[width - 1]) * 0.5f;
}

/* Row y of the bilinear enlargement by two of rows of `half` values; `space` has room for half + 2. */
INLINE void double_row(const float *near, const float *far, int64_t half, int64_t width, float *space,
                       float *restrict row)
{
    float *restrict mixed = space + 1;
    for (int64_t x = 0; x < half; x++)
        mixed[x] = near[x] + 0.25f * (far[x] - near[x]);
    mixed[-1] = mixed[0];
    mixed[half] = mixed[half - 1];
    for (int64_t x = 0; x < width / 2; x++) {
        row[2 * x] = mixed[x] + 0.25f * (mixed[x - 1] - mixed[x]);
        row[2 * x + 1] = mixed[x] + 0.25f * (mixed[x + 1] - mixed[x]);
    }
    if (width % 2)
        row[width - 1] = mixed[half - 1] + 0.25f * (mixed[half - 2 + (half == 1)] - mixed[half - 1]);
}

/* The rows of half the height on either side of row y, the nearer one first. */
INLINE void sides_of(int64_t y, int64_t height, int64_t *near, int64_t *far)
{
    *near = y / 2;
    *far = inside(y / 2 + (y % 2 ? 1 : -1), height);
}

/* Row j of the level above: pixels or clean pixels, (3, width). */
INLINE const float *upper_row(const Band *band, const Level *levels, int64_t number, int64_t j, int clean)
{
    const Level *level = levels + number;
    const int64_t size = 3 * level->width;
    if (number == band->levels)
        return (clean ? band->clean : band->coarse) + j * size;
    return clean ? level->clean + (j - level->wanted.first) * size : level->pixels + (j - level->kept.first) * size;
}

/* What doubling loses of row y: (3, width). */
INLINE void detail_row(const Band *band, const Level *levels, int64_t number, int64_t y, float *space,
                       float *restrict own, float *restrict detail)
{
    const Level *level = levels + number, *above = level + 1;
    const int64_t width = level->width;
    int64_t near, far;
    sides_of(y, above->height, &near, &far);
    const float *pixels = own;
    if (number == 0)
        load_row(band, y, own);
    else
        pixels = level->pixels + (y - level->kept.first) * 3 * width;
    const float *first = upper_row(band, levels, number + 1, near, 0),
                *second = upper_row(band, levels, number + 1, far, 0);
    for (int64_t channel = 0; channel < 3; channel++) {
        float *restrict to = detail + channel * width;
        double_row(first + channel * above->width, second + channel * above->width, above->width, width, space, to);
        for (int64_t x = 0; x < width; x++)
            to[x] = pixels[channel * width + x] - to[x];
    }
}

/* Sums of three neighbours; the ends are repeated. */
INLINE void sum_across(const float *restrict row, int64_t count, float *restrict sums)
{
    if (count == 1) {
        sums[0] = 3.0f * row[0];
        return;
    }
    sums[0] = row[0] + row[0] + row[1];
    for (int64_t x = 1; x < count - 1; x++)
        sums[x] = row[x - 1] + row[x] + row[x + 1];
    sums[count - 1] = row[count - 2] + row[count - 1] + row[count - 1];
}

/* The noise at row j of half the height, squared. */
INLINE void noise_row(const Band *band, const Level *level, int64_t j, float share, float *restrict squares)
{
    const int64_t half = (level->width + 1) / 2, columns = band->noise_columns;
    const float down = (float)(((double)j + 0.5) * 2.0 * (double)band->noise_rows / (double)level->height - 0.5);
    const float within = down < 0.0f ? 0.0f : down > (float)(band->noise_rows - 1) ? (float)(band->noise_rows - 1) : down;
    const int64_t row = (int64_t)within, next = at_most(row + 1, band->noise_rows - 1);
    const float part = within - (float)row;
    const float *above = band->noise + row * columns, *below = band->noise + next * columns;
    const float step = (float)(2.0 * (double)columns / (double)level->width);
    for (int64_t x = 0; x < half; x++) {
        float across = ((float)x + 0.5f) * step - 0.5f;
        across = across < 0.0f ? 0.0f : across > (float)(columns - 1) ? (float)(columns - 1) : across;
        const int32_t left = (int32_t)across, right = left + (left < (int32_t)columns - 1);
        const float share_right = across - (float)left;
        const float first = above[left] + part * (below[left] - above[left]);
        const float second = above[right] + part * (below[right] - above[right]);
        const float value = share * (first + share_right * (second - first));
        squares[x] = value * value;
    }
}

/* The clean rows of a level, or of the picture, from those of the level above. Returns 0, or 1 without memory. */
INLINE int clean_level(const Band *band, Level *levels, int64_t number)
{
    Level *level = levels + number, *above = level + 1;
    const int64_t width = level->width, half = above->width, height = level->height, size = 3 * width;
    const Rows wanted = level->wanted, part = level->half, energy = level->energy;
    const int64_t first = 2 * energy.first, last = at_most(2 * energy.last, height);
    const int64_t energies = energy.last - energy.first, parts = part.last - part.first;
    float *memory = malloc(sizeof(float) * (size_t)(
        (last - first) * size + 2 * energies * half + (2 + 3) * parts * half + 3 * size + 6 * half + 16));
    if (!memory)
        return 1;
    float *details = memory, *of_light = details + (last - first) * size, *of_all = of_light + energies * half;
    float *keep_light = of_all + energies * half, *keep_color = keep_light + parts * half;
    float *changes = keep_color + parts * half, *own = changes + 3 * parts * half, *row = own + size;
    float *other = row + size, *space = other + size, *sums = space + half + 4, *squares = sums + 2 * half;
    float reduced = 1.0f;
    for (int64_t k = 0; k < number; k++)
        reduced *= band->reduced;

    for (int64_t j = energy.first; j < energy.last; j++) {
        float *restrict light = row, *restrict all = row + width; /* of the even row; then its neighbour's follow */
        float *restrict next_light = other, *restrict next_all = other + width;
        for (int64_t odd = 0; odd < 2; odd++) {
            const int64_t y = at_most(2 * j + odd, height - 1);
            float *detail = details + (y - first) * size;
            if (y == 2 * j + odd)
                detail_row(band, levels, number, y, space, own, detail);
            float *restrict to_light = odd ? next_light : light, *restrict to_all = odd ? next_all : all;
            const float *restrict red = detail, *restrict green = detail + width, *restrict blue = detail + 2 * width;
            for (int64_t x = 0; x < width; x++) {
                const float mean = (red[x] + green[x] + blue[x]) * (1.0f / 3.0f);
                to_light[x] = mean * mean;
                to_all[x] = (red[x] * red[x] + green[x] * green[x] + blue[x] * blue[x]) * (1.0f / 3.0f);
            }
        }
        halve_row(light, next_light, width, of_light + (j - energy.first) * half);
        halve_row(all, next_all, width, of_all + (j - energy.first) * half);
    }
    for (int64_t j = part.first; j < part.last; j++) {
        float *restrict found[2] = {sums, sums + half};
        for (int64_t kind = 0; kind < 2; kind++) {
            const float *energy_rows = kind ? of_all : of_light;
            const float *up = energy_rows + (inside(j - 1, above->height) - energy.first) * half;
            const float *mid = energy_rows + (j - energy.first) * half;
            const float *low = energy_rows + (inside(j + 1, above->height) - energy.first) * half;
            float *restrict three = row;
            for (int64_t x = 0; x < half; x++)
                three[x] = (up[x] + mid[x] + low[x]) * (1.0f / 9.0f);
            sum_across(three, half, found[kind]);
        }
        noise_row(band, level, j, reduced, squares);
        float *restrict light = keep_light + (j - part.first) * half, *restrict color = keep_color + (j - part.first) * half;
        const float share_light = band->light * band->light, share_color = band->color * band->color;
        const float *restrict lights = found[0], *restrict alls = found[1];
        for (int64_t x = 0; x < half; x++) {
            const float bright = lights[x] > 1e-12f ? lights[x] : 1e-12f;
            const float rest = alls[x] - lights[x], colored = rest > 1e-12f ? rest : 1e-12f;
            const float kept_light = 1.0f - share_light * squares[x] / bright;
            const float kept_color = 1.0f - share_color * squares[x] / colored;
            light[x] = kept_light > 0.0f ? kept_light : 0.0f;
            color[x] = kept_color > 0.0f ? kept_color : 0.0f;
        }
        const float *before = upper_row(band, levels, number + 1, j, 0), *after = upper_row(band, levels, number + 1, j, 1);
        float *restrict change = changes + (j - part.first) * 3 * half;
        for (int64_t x = 0; x < 3 * half; x++)
            change[x] = after[x] - before[x];
    }
    const float strength = number ? 1.0f : band->strength;
    for (int64_t y = wanted.first; y < wanted.last; y++) {
        int64_t near, far;
        sides_of(y, above->height, &near, &far);
        near -= part.first;
        far -= part.first;
        float *restrict light = row, *restrict color = row + width, *restrict mean = row + 2 * width;
        double_row(keep_light + near * half, keep_light + far * half, half, width, space, light);
        double_row(keep_color + near * half, keep_color + far * half, half, width, space, color);
        const float *restrict detail = details + (y - first) * size;
        for (int64_t x = 0; x < width; x++)
            mean[x] = (detail[x] + detail[width + x] + detail[2 * width + x]) * (1.0f / 3.0f) * (light[x] - color[x]);
        const float *pixels = own;
        float *to = other;
        if (number == 0)
            load_row(band, y, own);
        else {
            pixels = level->pixels + (y - level->kept.first) * size;
            to = level->clean + (y - wanted.first) * size;
        }
        for (int64_t channel = 0; channel < 3; channel++) {
            float *restrict own_to = to + channel * width;
            const float *restrict own_detail = detail + channel * width, *own_pixels = pixels + channel * width;
            double_row(changes + near * 3 * half + channel * half, changes + far * 3 * half + channel * half, half, width,
                       space, own_to);
            for (int64_t x = 0; x < width; x++)
                own_to[x] = own_pixels[x]
                            + strength * (own_detail[x] * (color[x] - 1.0f) + mean[x] + own_to[x]);
        }
        if (number == 0)
            store_row(band, y, to);
    }
    free(memory);
    return 0;
}

/* Rows of the levels between the picture and the coarsest one. */
INLINE void reduce_rows(const Band *band, Level *levels, float *space)
{
    for (int64_t number = 1; number < band->levels; number++) {
        Level *level = levels + number, *below = level - 1;
        const int64_t wide = below->width, size = 3 * level->width;
        for (int64_t j = level->kept.first; j < level->kept.last; j++) {
            const int64_t next = at_most(2 * j + 1, below->height - 1);
            const float *first = space, *second = space + 3 * wide;
            if (number == 1) {
                load_row(band, 2 * j, space);
                load_row(band, next, space + 3 * wide);
            } else {
                first = below->pixels + (2 * j - below->kept.first) * 3 * wide;
                second = below->pixels + (next - below->kept.first) * 3 * wide;
            }
            for (int64_t channel = 0; channel < 3; channel++)
                halve_row(first + channel * wide, second + channel * wide, wide,
                          level->pixels + (j - level->kept.first) * size + channel * level->width);
        }
    }
}

/* Which rows of each level a band needs. */
INLINE void plan_levels(const Band *band, Level *levels)
{
    for (int64_t number = 0; number <= band->levels; number++) {
        Level *level = levels + number;
        level->height = number ? (level[-1].height + 1) / 2 : band->height;
        level->width = number ? (level[-1].width + 1) / 2 : band->width;
        level->wanted = number ? level[-1].half : (Rows){band->top, band->bottom};
        level->pixels = level->clean = 0;
        const int64_t above = (level->height + 1) / 2;
        level->half = (Rows){at_least(level->wanted.first / 2 - 1, 0), at_most((level->wanted.last - 1) / 2 + 2, above)};
        level->energy = (Rows){at_least(level->half.first - 1, 0), at_most(level->half.last + 1, above)};
    }
    for (int64_t number = band->levels - 1; number >= 0; number--) {
        Level *level = levels + number;
        level->kept = (Rows){2 * level->energy.first, at_most(2 * level->energy.last, level->height)};
        if (number) { /* what the level below doubles */
            level->kept.first = at_most(level->kept.first, at_least(level[-1].energy.first - 1, 0));
            level->kept.last = at_least(level->kept.last, at_most(level[-1].energy.last + 1, level->height));
        }
        if (number + 1 < band->levels) {
            level->kept.first = at_most(level->kept.first, 2 * level[1].kept.first);
            level->kept.last = at_least(level->kept.last, at_most(2 * level[1].kept.last, level->height));
        }
    }
}

/* Returns 0; 1 without memory; 2 where the rows that are given do not suffice. */
EXPORT PROCESSORS int shrink_band(const Band *band)
{
    Level levels[MOST_LEVELS + 1];
    if (band->levels < 1 || band->levels > MOST_LEVELS)
        return 2;
    plan_levels(band, levels);
    if (levels[0].kept.first < band->first || levels[0].kept.last > band->last)
        return 2;
    size_t count = 6 * (size_t)band->width;
    for (int64_t number = 1; number < band->levels; number++)
        count += 3 * (size_t)(levels[number].width * (levels[number].kept.last - levels[number].kept.first
                                                      + levels[number].wanted.last - levels[number].wanted.first));
    float *memory = malloc(sizeof(float) * count), *place = memory + 6 * band->width;
    if (!memory)
        return 1;
    for (int64_t number = 1; number < band->levels; number++) {
        Level *level = levels + number;
        level->pixels = place;
        place += 3 * level->width * (level->kept.last - level->kept.first);
        level->clean = place;
        place += 3 * level->width * (level->wanted.last - level->wanted.first);
    }
    reduce_rows(band, levels, memory);
    int failed = 0;
    for (int64_t number = band->levels - 1; number >= 0 && !failed; number--)
        failed = clean_level(band, levels, number);
    free(memory);
    return failed;
}

/* The rows `first` to `last` reduced `levels` times by means of 2 x 2, of which an odd last one is repeated: (rows, 3,
 * columns). `first` is a multiple of 2**levels, and `last` too but for that of the picture. Returns 0, or 1 without memory. */
EXPORT PROCESSORS int reduce_band(const Band *band, float *result)
{
    int64_t width = band->width, rows = band->last - band->first;
    const int64_t half = (width + 1) / 2;
    const size_t large = (size_t)(3 * half * ((rows + 1) / 2));
    float *memory = malloc(sizeof(float) * (2 * large + (size_t)(6 * width)));
    if (!memory)
        return 1;
    float *space = memory + 2 * large, *before = memory;
    for (int64_t number = 1; number <= band->levels; number++) {
        float *after = number == band->levels ? result : number % 2 ? memory + large : memory;
        const int64_t columns = (width + 1) / 2;
        for (int64_t y = 0; y < rows; y += 2) {
            const int64_t next = at_most(y + 1, rows - 1);
            const float *first = space, *second = space + 3 * width;
            if (number == 1) {
                load_row(band, band->first + y, space);
                load_row(band, band->first + next, space + 3 * width);
            } else {
                first = before + y * 3 * width;
                second = before + next * 3 * width;
            }
            for (int64_t channel = 0; channel < 3; channel++)
                halve_row(first + channel * width, second + channel * width, width,
                          after + (y / 2 * 3 + channel) * columns);
        }
        before = after;
        width = columns;
        rows = (rows + 1) / 2;
    }
    free(memory);
    return 0;
}
