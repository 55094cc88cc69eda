/* In: doubles. Out: bytes in a storage type, rounded to nearest even without a detour over a
 * wider type; and back. */
#include "numbers.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
    double epsilon;
} types[] = {
    [NUMBER_F32] = {"f32", 4, FLT_EPSILON}, [NUMBER_F16] = {"f16", 2, 0x1p-10},
    [NUMBER_BF16] = {"bf16", 2, 0x1p-7},    [NUMBER_F64] = {"f64", 8, DBL_EPSILON},
    [NUMBER_I32] = {"i32", 4, 1},           [NUMBER_U8] = {"u8", 1, 1},
};

const char *number_name(enum number type) {
    return types[type].name;
}

size_t number_bytes(enum number type) {
    return types[type].bytes;
}

double number_epsilon(enum number type) {
    return types[type].epsilon;
}

/* `value` >= 0 rounded to `digits` significant bits, no finer than 2^min_exponent. */
static double round_bits(double value, int digits, int min_exponent) {
    int exponent;
    frexp(value, &exponent);
    const int quantum = exponent - digits > min_exponent ? exponent - digits : min_exponent;
    return ldexp(nearbyint(ldexp(value, -quantum)), quantum);
}

static uint16_t encode_f16(double value) {
    const uint16_t sign = signbit(value) ? 0x8000 : 0;
    if (isnan(value))
        return 0x7e00;
    const double rounded = round_bits(fabs(value), 11, -24);
    if (rounded > 65504)
        return sign | 0x7c00;
    if (rounded < 0x1p-14)
        return (uint16_t)(sign | (uint16_t)ldexp(rounded, 24));
    int exponent;
    const double fraction = frexp(rounded, &exponent);
    return (uint16_t)(sign | ((exponent + 14) << 10) | ((int)ldexp(fraction, 11) - 1024));
}

static double decode_f16(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double value = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    if (exponent == 31)
        value = fraction ? NAN : INFINITY;
    return bits & 0x8000 ? -value : value;
}

static uint16_t encode_bf16(double value) {
    float narrow = (float)value;
    uint32_t bits;
    if (isfinite(value))
        narrow = copysignf((float)round_bits(fabs(value), 8, -133), (float)value);
    memcpy(&bits, &narrow, sizeof(bits));
    return isnan(value) ? 0x7fc0 : (uint16_t)(bits >> 16);
}

static double decode_bf16(uint16_t half) {
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

double number_get(enum number type, const void *data, int64_t index) {
    switch (type) {
    case NUMBER_F32:
        return ((const float *)data)[index];
    case NUMBER_F16:
        return decode_f16(((const uint16_t *)data)[index]);
    case NUMBER_BF16:
        return decode_bf16(((const uint16_t *)data)[index]);
    case NUMBER_F64:
        return ((const double *)data)[index];
    case NUMBER_I32:
        return ((const int32_t *)data)[index];
    case NUMBER_U8:
        return ((const uint8_t *)data)[index];
    }
    return 0;
}

double number_put(enum number type, void *data, int64_t index, double value) {
    switch (type) {
    case NUMBER_F32:
        ((float *)data)[index] = (float)value;
        break;
    case NUMBER_F16:
        ((uint16_t *)data)[index] = encode_f16(value);
        break;
    case NUMBER_BF16:
        ((uint16_t *)data)[index] = encode_bf16(value);
        break;
    case NUMBER_F64:
        ((double *)data)[index] = value;
        break;
    case NUMBER_I32:
        ((int32_t *)data)[index] = (int32_t)value;
        break;
    case NUMBER_U8:
        ((uint8_t *)data)[index] = (uint8_t)value;
        break;
    }
    return number_get(type, data, index);
}

double number_round(enum number type, double value) {
    double storage;
    return number_put(type, &storage, 0, value);
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t random_bits(struct random *random) {
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

double random_uniform(struct random *random, double low, double high) {
    return low + (high - low) * ldexp((double)(random_bits(random) >> 11), -53);
}

int64_t random_integer(struct random *random, int64_t low, int64_t high) {
    return low + (int64_t)(random_bits(random) % (uint64_t)(high - low + 1));
}
