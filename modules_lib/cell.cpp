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
    x = std::min(std::max(x, -87.0f), 87.0f);  // the result stays a normal number
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

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }
inline float tanh(float x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

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
        float i = sigmoid(sum(j)), f = sigmoid(sum(units + j));
        float g = tanh(sum(2 * units + j)), o = sigmoid(sum(3 * units + j));
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

struct Sizes {
    int64_t groups, rows, units, next, threads;  // next: rows of the next step, the first ones of this
};

template <class Work>
void each_row(const Sizes& sizes, Work work) {
#pragma omp parallel for num_threads(sizes.threads) if (sizes.threads > 1)
    for (int64_t i = 0; i < sizes.groups * sizes.rows; i++) work(i / sizes.rows, i % sizes.rows);
}

// Arrays are in the order of the arguments of cell.py.
template <class T>
void forward(const Sizes& sizes, const Array<T>* a) {
    each_row(sizes, [=](int64_t k, int64_t n) {
        int64_t units = sizes.units;
        T* hidden = a[6].row(k, n, units);
        forward_row<T>(units, a[0].row(k, n, 4 * units), a[1].row(k, n, 4 * units), a[2].row(k, 0, 0),
                       a[3].row(k, n, units), a[4].row(k, n, 4 * units), a[5].row(k, n, units), hidden);
        if (n < sizes.next) std::memcpy(a[7].row(k, n, units), hidden, units * sizeof(T));
    });
}

template <class T>
void backward(const Sizes& sizes, const Array<T>* a) {
    const Array<float> carried{reinterpret_cast<float*>(a[6].data), a[6].group};
    each_row(sizes, [=](int64_t k, int64_t n) {
        int64_t units = sizes.units;
        const T* product = n < sizes.next ? a[5].row(k, n, units) : nullptr;
        T* gates_grad = a[7].row(k, n, 4 * units);
        backward_row<T>(units, a[0].row(k, n, 4 * units), a[1].row(k, n, units), a[2].row(k, n, units),
                        a[3].row(k, n, units), a[4].row(k, n, units), product, carried.row(k, n, units), gates_grad);
        std::memcpy(a[8].row(k, n, 4 * units), gates_grad, 4 * units * sizeof(T));
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
