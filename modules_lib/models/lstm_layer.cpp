// An LSTM layer over packed sequences, forward and backward: products with the state weights by torch's kernels for
// blocks (oneDNN's brgemm), everything else in one pass over memory.
//
// A thread takes some sequences of a group through all steps, so that the group's weights stay in its cache. Arrays are
// those of lstm_layer.py: [K, n, units] or [K, n, 4 units], a row for each sequence or token. Arithmetic is done in floats.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "floats.h"

// As torch declares them in ATen/native/CPUBlas.h, which would take seconds to compile.
namespace at::native::cpublas {
void brgemm(int64_t m, int64_t n, int64_t k, int64_t ld_a, int64_t ld_b, int64_t ld_c, const bool add, const float* a,
            const float* b, float* c, bool paired);
void brgemm(int64_t m, int64_t n, int64_t k, int64_t ld_a, int64_t ld_b, int64_t ld_c, const bool add,
            const c10::BFloat16* a, const c10::BFloat16* b, float* c, bool paired);
void brgemm_release(bool paired);
}  // namespace at::native::cpublas

namespace {

constexpr int64_t ROWS = 32;  // sequences that go together: two registers of a unit for matrices
template <class T>
constexpr int64_t TOGETHER = 4 / sizeof(T);  // inputs whose weights lie side by side

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }
inline float tanh(float x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

template <class T>
void forward_row(int64_t units, const float* sums, const T* bias, const T* before, T* gates, T* cell, T* hidden) {
#pragma GCC ivdep
    for (int64_t j = 0; j < units; j++) {
        auto sum = [=](int64_t at) { return sums[at] + read(bias[at]); };
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

// product and carried: gradients of the two states from the next step; carried becomes that of this one.
template <class T>
void backward_row(int64_t units, const T* gates, const T* cell, const T* before, const T* hidden_grad,
                  const T* cell_grad, const float* product, float* carried, T* gates_grad) {
    auto at = [](const T* row, int64_t j) { return row ? read(row[j]) : 0.0f; };
#pragma GCC ivdep
    for (int64_t j = 0; j < units; j++) {
        float i = read(gates[j]), f = read(gates[units + j]), g = read(gates[2 * units + j]);
        float o = read(gates[3 * units + j]), t = tanh(read(cell[j]));
        float dh = at(hidden_grad, j) + product[j];
        float dc = carried[j] + at(cell_grad, j) + dh * o * (1.0f - t * t);
        carried[j] = dc * f;
        write(gates_grad[j], dc * g * i * (1.0f - i));
        write(gates_grad[units + j], dc * read(before[j]) * f * (1.0f - f));
        write(gates_grad[2 * units + j], dc * i * (1.0f - g * g));
        write(gates_grad[3 * units + j], dh * t * o * (1.0f - o));
    }
}

// The sequences of counts[t] are the first ones of the step before; their tokens lie step by step.
struct Sizes {
    int64_t groups, units, inputs, first, last;  // steps from first to before last
    const int64_t* counts;
    int64_t threads;
};

// [K, rows, columns], one group behind the other at this distance; null stands for zeros.
template <class T>
struct Array {
    T* data;
    int64_t group;

    T* row(int64_t k, int64_t n, int64_t columns) const { return data ? data + k * group + n * columns : nullptr; }
};

// float [rows, outputs], filled or added to: [rows, inputs] times weights [inputs / TOGETHER, outputs, TOGETHER].
template <class T>
void multiply(int64_t rows, int64_t inputs, int64_t outputs, const T* x, const T* weights, float* sums, bool add) {
    at::native::cpublas::brgemm(rows, outputs, inputs, inputs, outputs, outputs, add, x, weights, sums,
                                TOGETHER<T> == 2);
}

// work(group, first sequence, floats [ROWS, 4 units]) for every ROWS sequences of each group.
template <class T, class Work>
void each_block(const Sizes& sizes, Work work) {
    const int64_t blocks = (sizes.counts[sizes.first] + ROWS - 1) / ROWS;
#pragma omp parallel num_threads(sizes.threads) if (sizes.threads > 1)
    {
        std::vector<float> buffer(ROWS * 4 * sizes.units);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < sizes.groups * blocks; i++) work(i / blocks, i % blocks * ROWS, buffer.data());
        at::native::cpublas::brgemm_release(TOGETHER<T> == 2);
    }
}

// Where the tokens of a step begin.
int64_t start(const Sizes& sizes, int64_t step) {
    int64_t tokens = 0;
    for (int64_t t = 0; t < step; t++) tokens += sizes.counts[t];
    return tokens;
}

// In the order in which lstm_layer.py names them. x is of these steps, the others of all; filled for these steps: gates,
// hidden and cell states.
template <class T>
struct Forward {
    Array<T> x, weights, state_weights, bias, hidden_before, cell_before, gates, hidden, cell;
};

template <class T>
void forward(const Sizes& s, const Forward<T>& a) {
    each_block<T>(s, [&](int64_t k, int64_t first, float* sums) {
        const int64_t units = s.units, from = start(s, s.first);
        int64_t at = from, before = s.first ? from - s.counts[s.first - 1] : 0;
        for (int64_t t = s.first; t < s.last && s.counts[t] > first; before = at, at += s.counts[t], t++) {
            const int64_t rows = std::min(s.counts[t] - first, ROWS), n = at + first;
            const T* hidden = t ? a.hidden.row(k, before + first, units) : a.hidden_before.row(k, first, units);
            const T* cell = t ? a.cell.row(k, before + first, units) : a.cell_before.row(k, first, units);
            multiply<T>(rows, s.inputs, 4 * units, a.x.row(k, n - from, s.inputs), a.weights.row(k, 0, 0), sums, false);
            multiply<T>(rows, units, 4 * units, hidden, a.state_weights.row(k, 0, 0), sums, true);
            for (int64_t i = 0; i < rows; i++)
                forward_row<T>(units, sums + i * 4 * units, a.bias.row(k, 0, 0), cell + i * units,
                               a.gates.row(k, n + i, 4 * units), a.cell.row(k, n + i, units), a.hidden.row(k, n + i, units));
        }
    });
}

// In the order in which lstm_layer.py names them; filled: gradients of the gates before their activation, and of both
// states before the first step.
template <class T>
struct Backward {
    Array<T> state_weights, gates, cell, cell_before, hidden_grad, cell_grad, gates_grad, hidden_before_grad,
        cell_before_grad;
};

template <class T>
void backward(const Sizes& s, const Backward<T>& a) {
    each_block<T>(s, [&](int64_t k, int64_t first, float* product) {
        const int64_t units = s.units;
        float* carried = product + ROWS * units;  // [ROWS, units]
        std::fill(product, carried + ROWS * units, 0.0f);
        int64_t at = start(s, s.last);
        for (int64_t t = s.last - 1; t >= 0; t--) {
            at -= s.counts[t];
            const int64_t rows = std::min(s.counts[t] - first, ROWS), n = at + first;
            if (rows <= 0) continue;
            const int64_t before = t ? n - s.counts[t - 1] : first;
            for (int64_t i = 0; i < rows; i++)
                backward_row<T>(units, a.gates.row(k, n + i, 4 * units), a.cell.row(k, n + i, units),
                                (t ? a.cell : a.cell_before).row(k, before + i, units), a.hidden_grad.row(k, n + i, units),
                                a.cell_grad.row(k, n + i, units), product + i * units, carried + i * units,
                                a.gates_grad.row(k, n + i, 4 * units));
            multiply<T>(rows, 4 * units, units, a.gates_grad.row(k, n, 4 * units), a.state_weights.row(k, 0, 0), product, false);
        }
        const int64_t rows = std::min(s.counts[0] - first, ROWS);
        for (int64_t i = 0; i < rows * units; i++) {
            write(a.hidden_before_grad.row(k, first, units)[i], product[i]);
            write(a.cell_before_grad.row(k, first, units)[i], carried[i]);
        }
    });
}

// Whether there are kernels of this type for this processor.
template <class T>
bool works() {
    T ones[TOGETHER<T>];
    for (T& one : ones) write(one, 1.0f);
    float sum = 0.0f;
    try {
        multiply<T>(1, TOGETHER<T>, 1, ones, ones, &sum, false);
        at::native::cpublas::brgemm_release(TOGETHER<T> == 2);
    } catch (...) {
        return false;
    }
    return sum == TOGETHER<T>;
}

}  // namespace

#define ENTRIES(T)                                                                                  \
    extern "C" int works_##T(const void*, const void*) { return works<T>(); }                       \
    extern "C" void forward_##T(const Sizes* sizes, const Forward<T>* a) { forward<T>(*sizes, *a); } \
    extern "C" void backward_##T(const Sizes* sizes, const Backward<T>* a) { backward<T>(*sizes, *a); }

ENTRIES(float32)
ENTRIES(bfloat16)
