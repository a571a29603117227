// The functions of the paper's sampler (samplers.py) and of a step of Adam (mask_adam.py), each one pass over memory.
//
// A function has the arguments of the Python function of its name, one Given for each tensor, those of a list one after
// another. Threads take blocks, whose intermediate numbers stay in the fastest cache.

#include <cmath>
#include <vector>

#include "floats.h"

namespace {

constexpr int64_t BLOCK = 256, FEW = 1 << 15;  // numbers at once; numbers that one thread is faster with

struct Given {
    void* data;
    int64_t size, is_bfloat16;

    template <class T>
    T* of() const { return static_cast<T*>(data); }
};

// Call function(first, numbers) for every block of so many numbers.
template <class Function>
void blocks(int64_t size, int64_t threads, Function function) {
    int64_t count = (size + BLOCK - 1) / BLOCK;
    threads = size < FEW ? 1 : threads;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; i++) function(i * BLOCK, std::min(BLOCK, size - i * BLOCK));
}

// rng._hash and rng._unit: two samples' uniform numbers of some positions.
struct Noise {
    const int32_t *keys, *start;
    bool each;  // position has its own start

    Noise(const Given& keys, const Given& start)
        : keys(keys.of<int32_t>()), start(start.of<int32_t>()), each(start.size > 1) {}

    void draw(int64_t pair, int64_t first, int64_t count, float* u, float* v) const {
        const uint32_t key = keys[2 * pair], between = keys[2 * pair + 1];
        uint32_t position[BLOCK];
        for (int64_t i = 0; i < count; i++) position[i] = uint32_t(each ? start[first + i] : start[0] + first + i);
        for (int64_t i = 0; i < count; i++) {
            uint32_t x = position[i] ^ key;
            x = (x ^ (x >> 16)) * 0x7feb352du + between;
            x = (x ^ (x >> 15)) * 0x846ca68bu;
            x ^= x >> 16;
            uint32_t y = (x << 16) | (x >> 16);
            u[i] = (float(int32_t(x >> 9)) + 0.5f) * 0x1p-23f;
            v[i] = (float(int32_t(y >> 9)) + 0.5f) * 0x1p-23f;
        }
    }
};

// Call function(sample, u) for each of K samples' noise of a block.
template <class Function>
void each_sample(const Noise& noise, int64_t samples, int64_t first, int64_t count, Function function) {
    float u[2][BLOCK];
    for (int64_t k = 0; k < samples; k++) {
        if (k % 2 == 0) noise.draw(k / 2, first, count, u[0], u[1]);
        function(k, u[k % 2]);
    }
}

template <class W>
void masked(const Given& logits, const Given& weights, const Noise& noise, const Given* out, int64_t samples,
            int64_t threads) {
    blocks(logits.size, threads, [&](int64_t first, int64_t count) {
        const float* l = logits.of<float>() + first;
        const W* w = weights.of<W>() + first;
        float removed[BLOCK];
        for (int64_t i = 0; i < count; i++) removed[i] = 1.0f / (1.0f + exponential(l[i]));
        each_sample(noise, samples, first, count, [&](int64_t k, const float* u) {
            W* sample = out[k].of<W>() + first;
#pragma GCC ivdep
            for (int64_t i = 0; i < count; i++) write(sample[i], u[i] > removed[i] ? read(w[i]) : 0.0f);
        });
    });
}

template <class W, class G>
void logit_gradient(const Given& logits, const Given& weights, const Noise& noise, const Given& out,
                    const Given* grads, int64_t samples, int64_t threads) {
    blocks(logits.size, threads, [&](int64_t first, int64_t count) {
        const float* l = logits.of<float>() + first;
        const W* w = weights.of<W>() + first;
        float p[BLOCK], q[BLOCK], total[BLOCK];
        for (int64_t i = 0; i < count; i++) {
            float small = 1.0f / (1.0f + exponential(std::fabs(l[i]))), large = 1.0f - small;
            p[i] = l[i] > 0.0f ? large : small;
            q[i] = l[i] > 0.0f ? small : large;
            total[i] = 0.0f;
        }
        each_sample(noise, samples, first, count, [&](int64_t k, const float* u) {
            const G* grad = grads[k].of<G>() + first;
            for (int64_t i = 0; i < count; i++) {
                float bottom = q[i] + u[i] * (p[i] - q[i]);
                total[i] += read(grad[i]) * ((u[i] - u[i] * u[i]) / (bottom * bottom));
            }
        });
        float* to = out.of<float>() + first;
        for (int64_t i = 0; i < count; i++) to[i] = total[i] * (p[i] * q[i] * read(w[i]));
    });
}

template <class G>
void weight_gradient(const Given& logits, const Noise& noise, const Given& out, const Given* grads, int64_t samples,
                     int64_t threads) {
    blocks(logits.size, threads, [&](int64_t first, int64_t count) {
        const float* l = logits.of<float>() + first;
        float removed[BLOCK], total[BLOCK];
        for (int64_t i = 0; i < count; i++) {
            removed[i] = 1.0f / (1.0f + exponential(l[i]));
            total[i] = 0.0f;
        }
        each_sample(noise, samples, first, count, [&](int64_t k, const float* u) {
            const G* grad = grads[k].of<G>() + first;
            for (int64_t i = 0; i < count; i++) total[i] += u[i] > removed[i] ? read(grad[i]) : 0.0f;
        });
        std::copy(total, total + count, out.of<float>() + first);
    });
}

struct Price {  // one for all numbers, or one each
    const float* alpha;
    bool each;

    explicit Price(const Given& alpha) : alpha(alpha.of<float>()), each(alpha.size > 1) {}

    void of(int64_t first, int64_t count, float* out) const {
        for (int64_t i = 0; i < count; i++) out[i] = each ? alpha[first + i] : alpha[0];
    }
};

}  // namespace

// logits, weights, keys, start, K of out
extern "C" void masked(const Given* a, int64_t count, int64_t threads) {
    auto function = a[1].is_bfloat16 ? masked<bfloat16> : masked<float32>;
    function(a[0], a[1], Noise(a[2], a[3]), a + 4, count - 4, threads);
}

// logits, weights, keys, start, out, K of grads
extern "C" void logit_gradient(const Given* a, int64_t count, int64_t threads) {
    bool low = a[1].is_bfloat16, low_grads = a[5].is_bfloat16;
    auto function = low ? (low_grads ? logit_gradient<bfloat16, bfloat16> : logit_gradient<bfloat16, float32>)
                        : (low_grads ? logit_gradient<float32, bfloat16> : logit_gradient<float32, float32>);
    function(a[0], a[1], Noise(a[2], a[3]), a[4], a + 5, count - 5, threads);
}

// logits, weights, keys, start, out, K of grads
extern "C" void weight_gradient(const Given* a, int64_t count, int64_t threads) {
    auto function = a[5].is_bfloat16 ? weight_gradient<bfloat16> : weight_gradient<float32>;
    function(a[0], Noise(a[2], a[3]), a[4], a + 5, count - 5, threads);
}

// values, mean, square, gradient, alpha, scale, rates
extern "C" void update(const Given* a, int64_t, int64_t threads) {
    const Price price(a[4]);
    const float scale = *a[5].of<float>(), rate = a[6].of<float>()[0], root = a[6].of<float>()[1];
    blocks(a[0].size, threads, [&](int64_t first, int64_t count) {
        float *values = a[0].of<float>() + first, *mean = a[1].of<float>() + first;
        float *square = a[2].of<float>() + first, *gradient = a[3].of<float>() + first, alpha[BLOCK];
        price.of(first, count, alpha);
#pragma GCC ivdep
        for (int64_t i = 0; i < count; i++) {
            float whole = (gradient[i] + alpha[i]) * scale;
            mean[i] = 0.9f * mean[i] + float(1 - 0.9) * whole;
            square[i] = 0.999f * square[i] + float(1 - 0.999) * whole * whole;
            values[i] -= rate * mean[i] / (std::sqrt(square[i]) / root + 1e-8f);
        }
    });
}

// gradient, alpha, out: summed up block by block, in one order whatever the number of threads
extern "C" void squared_norm(const Given* a, int64_t, int64_t threads) {
    const Price price(a[1]);
    std::vector<double> sums((a[0].size + BLOCK - 1) / BLOCK);
    blocks(a[0].size, threads, [&](int64_t first, int64_t count) {
        const float* gradient = a[0].of<float>() + first;
        float alpha[BLOCK], parts[16] = {};
        price.of(first, count, alpha);
        int64_t i = 0;
        for (; i + 16 <= count; i += 16)
            for (int64_t j = 0; j < 16; j++) {
                float whole = gradient[i + j] + alpha[i + j];
                parts[j] += whole * whole;
            }
        for (; i < count; i++) parts[0] += (gradient[i] + alpha[i]) * (gradient[i] + alpha[i]);
        for (float part : parts) sums[first / BLOCK] += part;
    });
    double sum = 0.0;
    for (double one : sums) sum += one;
    *a[2].of<float>() = float(sum);
}
