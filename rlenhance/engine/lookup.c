/* Colours through a table of colours, interpolated linearly along each axis: what lookup.py calls.
 *
 * The table is (size^3, 4) float32, whose fourth column counts for nothing, so that an entry is one vector; red changes
 * fastest.
 */
#include "compiled.h"

#if defined(__GNUC__)

#include <math.h>

typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));

typedef struct {
    const float *entries;
    const float *curve; /* the colour of each value of a channel, from 0 to 1; of floats, unused */
    int64_t size;
} Table;

/* The entry below a value, at most the last but one, and the part of the way to the next. */
INLINE int64_t below(float value, int64_t size, float *part)
{
    const float place = value * (float)(size - 1);
    int64_t entry = (int64_t)place;
    entry = entry < 0 ? 0 : entry > size - 2 ? size - 2 : entry;
    *part = place - (float)entry;
    return entry;
}

INLINE Four between(const float *entry, int64_t step, float part)
{
    const Four first = *(const Four *)entry, second = *(const Four *)(entry + step);
    return first + part * (second - first);
}

INLINE Four looked_up(const Table *table, float red, float green, float blue)
{
    const int64_t size = table->size, row = 4 * size, plane = row * size;
    float across, down, deep;
    const int64_t x = below(red, size, &across), y = below(green, size, &down), z = below(blue, size, &deep);
    const float *entry = table->entries + 4 * x + row * y + plane * z;
    const Four one = between(entry, 4, across), two = between(entry + row, 4, across);
    const Four three = between(entry + plane, 4, across), four = between(entry + plane + row, 4, across);
    const Four near = one + down * (two - one), far = three + down * (four - three);
    return near + deep * (far - near);
}

INLINE float bounded(float value)
{
    return value < 0 ? 0 : value > 1 ? 1 : value;
}

/* Pictures of `count` pixels, three channels each beside one another. */
#define LOOK_UP(NAME, TYPE, COLOR, ROUNDED)                                                                            \
    PROCESSORS EXPORT void NAME(const Table *table, const TYPE *source, TYPE *result, int64_t count)                   \
    {                                                                                                                  \
        for (int64_t i = 0; i < 3 * count; i += 3) {                                                                   \
            const Four made = looked_up(table, COLOR(source[i]), COLOR(source[i + 1]), COLOR(source[i + 2]));          \
            for (int channel = 0; channel < 3; channel++)                                                              \
                result[i + channel] = ROUNDED(bounded(made[channel]));                                                 \
        }                                                                                                              \
    }

#define CURVED(value) table->curve[value]
#define AS_IT_IS(value) (value)
#define TO_BYTE(value) (uint8_t)lrintf(255.0f * (value))
#define TO_WORD(value) (uint16_t)lrintf(65535.0f * (value))

LOOK_UP(look_up_bytes, uint8_t, CURVED, TO_BYTE)
LOOK_UP(look_up_words, uint16_t, CURVED, TO_WORD)
LOOK_UP(look_up_floats, float, AS_IT_IS, AS_IT_IS)

#endif
