// One step of an LSTM layer, all that is not a product of matrices, in one pass over memory, forward and backward.
//
// Arrays are those of cell.py: [K, n, units] or [K, n, 4 units], a row for each sequence; rows of a group lie one behind
// the other. Arithmetic is done in floats.

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

struct bfloat16 {
    uint16_t bits;
};

inline float from_bits(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

inline float read(float x) { return x; }
inline float read(bfloat16 x) { return from_bits(uint32_t(x.bits) << 16); }
inline void write(float& to, float x) { to = x; }
inline void write(bfloat16& to, float x) {  // to the nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    to.bits = uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// The exponential as 2^n times a polynomial of what is left (Cephes, expf): within two units of the last place.
inline float exponential(float x) {
    x = std::min(std::max(x, -43.0f), 43.0f);  // where a sigmoid is 2e-19; two such factors are still finite
    float n = __builtin_rintf(x * 1.44269504f);
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return (p * r * r + r + 1.0f) * from_bits(uint32_t(int32_t(n) + 127) << 23);
}

inline float tanh(float x) { return 2.0f / (1.0f + exponential(-2.0f * x)) - 1.0f; }

// 1 / a and 1 / b with one division, which takes longer than all else; the product must be finite.
inline void reciprocals(float& a, float& b) {
    float both = 1.0f / (a * b), other = b;
    b = a * both;
    a = other * both;
}

// [K, n, columns], one group behind the other at this distance; null stands for zeros.
template <class T>
struct Array {
    T* data;
    int64_t group;

    T* row(int64_t k, int64_t n, int64_t columns) const { return data ? data + k * group + n * columns : nullptr; }
};

template <class T>
inline float at(const T* row, int64_t j) {
    return row ? read(row[j]) : 0.0f;
}

template <class T>
void forward_row(int64_t units, const T* x, const T* product, const T* bias, const T* before, T* gates, T* cell,
                 T* hidden) {
#pragma GCC ivdep
    for (int64_t j = 0; j < units; j++) {
        auto sum = [=](int64_t at) { return read(x[at]) + read(product[at]) + read(bias[at]); };
        // sigmoid(x) = 1 / (1 + exp(-x)) and tanh(x) = 2 sigmoid(2 x) - 1
        float i = 1.0f + exponential(-sum(j));
        float f = 1.0f + exponential(-sum(units + j));
        float g = 1.0f + exponential(-2.0f * sum(2 * units + j));
        float o = 1.0f + exponential(-sum(3 * units + j));
        reciprocals(i, f);
        reciprocals(g, o);
        g = 2.0f * g - 1.0f;
        float c = f * read(before[j]) + i * g;
        write(gates[j], i);
        write(gates[units + j], f);
        write(gates[2 * units + j], g);
        write(gates[3 * units + j], o);
        write(cell[j], c);
        write(hidden[j], o * tanh(c));
    }
}

template <class T>
void backward_row(int64_t units, const T* gates, const T* cell, const T* before, const T* hidden_grad,
                  const T* cell_grad, const T* product, float* carried, T* gates_grad) {
#pragma GCC ivdep
    for (int64_t j = 0; j < units; j++) {
        float i = read(gates[j]), f = read(gates[units + j]), g = read(gates[2 * units + j]);
        float o = read(gates[3 * units + j]), t = tanh(read(cell[j]));
        float dh = at(hidden_grad, j) + at(product, j);
        float dc = carried[j] + at(cell_grad, j) + dh * o * (1.0f - t * t);
        carried[j] = dc * f;
        write(gates_grad[j], dc * g * i * (1.0f - i));
        write(gates_grad[units + j], dc * read(before[j]) * f * (1.0f - f));
        write(gates_grad[2 * units + j], dc * i * (1.0f - g * g));
        write(gates_grad[3 * units + j], dh * t * o * (1.0f - o));
    }
}

// groups and rows of the step; units; of the next step's rows, which the first of these are
struct Sizes {
    int64_t groups, rows, units, next, threads;
};

template <class Work>
void each_row(const Sizes& sizes, Work work) {
#pragma omp parallel for num_threads(sizes.threads) if (sizes.threads > 1)
    for (int64_t i = 0; i < sizes.groups * sizes.rows; i++) work(i / sizes.rows, i % sizes.rows);
}

template <class T>
void forward(const Sizes& sizes, const Array<T>* arrays) {
    each_row(sizes, [=](int64_t k, int64_t n) {
        int64_t units = sizes.units;
        auto [x, product, bias, before, gates, cell, hidden, packed] = *(const Array<T>(*)[8])arrays;
        T* h = hidden.row(k, n, units);
        forward_row<T>(units, x.row(k, n, 4 * units), product.row(k, n, 4 * units), bias.row(k, 0, 0),
                       before.row(k, n, units), gates.row(k, n, 4 * units), cell.row(k, n, units), h);
        if (n < sizes.next) std::memcpy(packed.row(k, n, units), h, units * sizeof(T));
    });
}

template <class T>
void backward(const Sizes& sizes, const Array<T>* arrays) {
    each_row(sizes, [=](int64_t k, int64_t n) {
        int64_t units = sizes.units;
        auto [gates, cell, before, hidden, cells, product, carry, grad, packed] = *(const Array<T>(*)[9])arrays;
        T* d = grad.row(k, n, 4 * units);
        Array<float> carried{reinterpret_cast<float*>(carry.data), carry.group};
        backward_row<T>(units, gates.row(k, n, 4 * units), cell.row(k, n, units), before.row(k, n, units),
                        hidden.row(k, n, units), cells.row(k, n, units),
                        n < sizes.next ? product.row(k, n, units) : nullptr, carried.row(k, n, units), d);
        std::memcpy(packed.row(k, n, 4 * units), d, 4 * units * sizeof(T));
    });
}

}  // namespace

#define ENTRY(PASS, TYPE) \
    extern "C" void PASS##_##TYPE(const Sizes* sizes, const Array<TYPE>* arrays) { PASS<TYPE>(*sizes, arrays); }

using float32 = float;
ENTRY(forward, float32)
ENTRY(forward, bfloat16)
ENTRY(backward, float32)
ENTRY(backward, bfloat16)
