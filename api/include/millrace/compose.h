/* Millrace: functions that run ops of the table one after the other. A tape records the ops; there
 * is nothing else that gradients, autocast or a profiler would see. */
#ifndef MILL_COMPOSE_H
#define MILL_COMPOSE_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What mill_embedding_bag makes of a bag. */
enum mill_bag_modes { MILL_BAG_SUM = 0, MILL_BAG_MEAN = 1 };

/* The sum of products that an equation in Einstein's notation describes, as numpy.einsum,
 * torch.einsum and ONNX's Einsum: "ij,jk->ik" is a matrix product, "bii->bi" takes diagonals,
 * "ij->" sums everything. One term of letters (a to z, A to Z) for each input, with a letter for
 * each axis; the result has the letters after "->" and is summed over all others. Without "->" it
 * has the letters that occur once, in alphabetical order (capitals first). "..." stands for any
 * number of axes, which broadcast over the inputs and come first in a result without "->"; where
 * "->" leaves it out they are summed. An axis of size 1 broadcasts. Spaces are skipped. equation:
 * UTF-8, its length in bytes or MILL_NTS. inputs: n_inputs (1 to MILL_MAX_OP_INPUTS) tensors of
 * numeric dtypes, which promote; contracted from left to right, two at a time, by batched matrix
 * products where they are floating-point, so that the order in which they are given decides the
 * cost. *out NULL: allocated; else written, with the dims and the dtype of the result, and sharing
 * no memory with an input. The result of one input alone may be a view of it.
 * Errors: MILL_E_ARG (the equation, counts, NULL), MILL_E_SHAPE (names the letter and both sizes,
 * or the term and the rank), MILL_E_DTYPE, MILL_E_DEVICE, MILL_E_BAD_HANDLE, MILL_E_BUSY,
 * MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_einsum(mill_exec* exec, const char* equation, uint64_t equation_bytes,
                mill_tensor* const* inputs, uint32_t n_inputs, mill_tensor** out, mill_error* err);

/* ---- views and joins -------------------------------------------------------------------------
 *
 * Views of x share its memory; axes count from the front, negative ones from the back. *out: as in
 * mill_einsum. Errors of all: MILL_E_ARG (an axis, a count, NULL), MILL_E_SHAPE, MILL_E_DTYPE,
 * MILL_E_DEVICE, MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY. */

/* x with two axes in each other's place. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_transpose(mill_exec* exec, mill_tensor* x, int64_t axis_a, int64_t axis_b,
                   mill_tensor** out, mill_error* err);

/* x without these axes, which have size 1; n_axes 0: without all of size 1. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_squeeze(mill_exec* exec, mill_tensor* x, const int64_t* axes, uint32_t n_axes,
                 mill_tensor** out, mill_error* err);

/* x with axes of size 1 that are at `axes` in the result (1 or more). Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_unsqueeze(mill_exec* exec, mill_tensor* x, const int64_t* axes, uint32_t n_axes,
                   mill_tensor** out, mill_error* err);

/* x with the axes from `first` to `last` as one; [] becomes [1]. A view where the strides allow,
 * else a copy. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_flatten(mill_exec* exec, mill_tensor* x, int64_t first, int64_t last, mill_tensor** out,
                 mill_error* err);

/* x cut along axis into n_sizes parts (1 or more) of these sizes, whose sum is the axis's. outs:
 * array of n_sizes, each NULL, then a view, or written into. On failure all that were NULL still
 * are. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_split(mill_exec* exec, mill_tensor* x, const int64_t* sizes, uint32_t n_sizes,
               int64_t axis, mill_tensor** outs, mill_error* err);

/* n_inputs (1 to MILL_MAX_OP_INPUTS) tensors of the same dims, one behind the other along a new
 * axis, which is at `axis` in the result. dtypes promote. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_stack(mill_exec* exec, mill_tensor* const* inputs, uint32_t n_inputs, int64_t axis,
               mill_tensor** out, mill_error* err);

/* ---- arithmetic and statistics ---------------------------------------------------------------
 *
 * *out: as in mill_einsum. axes, n_axes: what is reduced, n_axes 0: everything; keepdim: reduced
 * axes stay, of size 1. Errors of all: as above. */

/* x, where mask (bool, broadcast to x's dims) is false, else value. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_masked_fill(mill_exec* exec, mill_tensor* x, mill_tensor* mask, double value,
                     mill_tensor** out, mill_error* err);

/* a + weight (b - a), all broadcast; for weights in [0, 1] between a and b. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_lerp(mill_exec* exec, mill_tensor* a, mill_tensor* b, mill_tensor* weight,
              mill_tensor** out, mill_error* err);

/* x + value a b, all broadcast. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_addcmul(mill_exec* exec, mill_tensor* x, mill_tensor* a, mill_tensor* b, double value,
                 mill_tensor** out, mill_error* err);

/* Variance of the reduced elements: sum of (x - mean)^2 over n - correction (1: unbiased, 0: of a
 * population; NaN or infinite where that is not positive), in two passes. x floating-point; 16-bit
 * dtypes are computed in f32. The root is mill_sqrt's. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_var(mill_exec* exec, mill_tensor* x, const int64_t* axes, uint32_t n_axes,
             double correction, mill_bool keepdim, mill_tensor** out, mill_error* err);

/* (sum |x|^p)^(1/p) over the reduced elements; p infinite: the largest |x|, -infinite: the
 * smallest, 0: how many are not 0. The gradient where the result is 0 is 0. x floating-point;
 * 16-bit dtypes are computed in f32. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_vector_norm(mill_exec* exec, mill_tensor* x, double p, const int64_t* axes,
                     uint32_t n_axes, mill_bool keepdim, mill_tensor** out, mill_error* err);

/* log(sum exp(x)) over the reduced elements, without overflow. x floating-point; 16-bit dtypes are
 * computed in f32. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_logsumexp(mill_exec* exec, mill_tensor* x, const int64_t* axes, uint32_t n_axes,
                   mill_bool keepdim, mill_tensor** out, mill_error* err);

/* ---- losses ----------------------------------------------------------------------------------
 *
 * As PyTorch's functions of these names. reduction: MILL_REDUCE_MEAN, MILL_REDUCE_SUM (both give
 * []) or MILL_REDUCE_NONE (the dims of the single losses). x and target: floating-point, of the
 * same dims; dtypes promote, and the result has the common one. Gradients flow to both. *out: as in
 * mill_einsum. mill_cross_entropy is an op of the table, and faster than log_softmax with
 * mill_nll_loss where there are no class weights.
 * Errors of all: MILL_E_ARG, MILL_E_SHAPE, MILL_E_DTYPE, MILL_E_DEVICE, MILL_E_BAD_HANDLE,
 * MILL_E_BUSY, MILL_E_MEMORY; of mill_nll_loss also MILL_E_INDEX (a label that is no class). */

/* -log_probs[label] * weight[label], with classes along the last axis of log_probs [..., classes]
 * and labels [...] of an integer dtype. weight: [classes] of a floating dtype, NULL = 1. Labels
 * equal to ignore_index (PyTorch's usual -100) count for nothing. The mean is over the sum of the
 * weights that counted. 16-bit inputs are computed in f32, which is the result's dtype then. Since:
 * 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_nll_loss(mill_exec* exec, mill_tensor* log_probs, mill_tensor* labels, mill_tensor* weight,
                  int64_t reduction, int64_t ignore_index, mill_tensor** out, mill_error* err);

/* (x - target)^2. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_mse_loss(mill_exec* exec, mill_tensor* x, mill_tensor* target, int64_t reduction,
                  mill_tensor** out, mill_error* err);

/* |x - target|; the gradient at 0 is 0. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_l1_loss(mill_exec* exec, mill_tensor* x, mill_tensor* target, int64_t reduction,
                 mill_tensor** out, mill_error* err);

/* d^2 / 2 where d = |x - target| is at most delta, which is positive, else delta (d - delta / 2)
 * (Huber, 1964). Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_huber_loss(mill_exec* exec, mill_tensor* x, mill_tensor* target, double delta,
                    int64_t reduction, mill_tensor** out, mill_error* err);

/* mill_huber_loss with delta = beta, over beta; with beta 0 mill_l1_loss. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_smooth_l1_loss(mill_exec* exec, mill_tensor* x, mill_tensor* target, double beta,
                        int64_t reduction, mill_tensor** out, mill_error* err);

/* Binary cross-entropy of sigmoid(logits), without overflow: (1 - target) x + (1 + (pos_weight - 1)
 * target) softplus(-x). pos_weight: of dims that broadcast to those of logits, NULL = 1.
 * Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_bce_with_logits_loss(mill_exec* exec, mill_tensor* logits, mill_tensor* target,
                              mill_tensor* pos_weight, int64_t reduction, mill_tensor** out,
                              mill_error* err);

/* target (log target - log_probs), where target is 0 nothing; log_target: target is a logarithm
 * already. Batch by batch (PyTorch's "batchmean") it is the sum over the size of the batch.
 * Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_kl_div_loss(mill_exec* exec, mill_tensor* log_probs, mill_tensor* target,
                     mill_bool log_target, int64_t reduction, mill_tensor** out, mill_error* err);

/* ---- pooling --------------------------------------------------------------------------------- */

/* Means of windows so laid over x [batch, channels, 1 to 3 spatial axes], floating-point, that the
 * result's spatial sizes are `sizes`, one for each axis: along an axis of n elements, window o of
 * s reaches from floor(o n / s) to ceil((o + 1) n / s), as torch's adaptive_avg_pool. One pooling
 * where the sizes divide x's; else an op for each window along the axis. *out: as in mill_einsum.
 * Errors: MILL_E_ARG, MILL_E_SHAPE, MILL_E_DTYPE, MILL_E_DEVICE, MILL_E_BAD_HANDLE, MILL_E_BUSY,
 * MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_adaptive_avg_pool(mill_exec* exec, mill_tensor* x, const int64_t* sizes, uint32_t n_sizes,
                           mill_tensor** out, mill_error* err);

/* ---- parts of networks -----------------------------------------------------------------------
 *
 * *out: as in mill_einsum. Errors of all: as above. */

/* Sums (MILL_BAG_SUM) or means (MILL_BAG_MEAN) of rows of weight [rows, width], a bag each: ids [n]
 * of an integer dtype, offsets [bags] of one: where a bag's ids begin, the first of them 0, none
 * smaller than the one before. An empty bag gives 0. scale: [n], floating-point, a factor for each
 * id's row, NULL = 1. Result [bags, width]; rows are added in the order of ids. Also MILL_E_INDEX
 * (an id outside [0, rows), offsets that do not begin with 0). Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_embedding_bag(mill_exec* exec, mill_tensor* weight, mill_tensor* ids, mill_tensor* offsets,
                       mill_tensor* scale, int64_t mode, mill_tensor** out, mill_error* err);

/* Stochastic depth (Huang et al., 2016): x[i] whole is 0 with probability p, in [0, 1], else
 * x[i] / (1 - p), for each i along the first axis, drawn from the exec's generator; p 0: x. Also
 * MILL_E_STATE (no generator). Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_drop_path(mill_exec* exec, mill_tensor* x, double p, mill_tensor** out, mill_error* err);

/* The bias of attention with linear biases (Press et al., 2022): -slope[h] |i + keys - queries - j|
 * as [heads, queries, keys] of dtype, which is floating-point; slopes as published: 2^(-8 h /
 * heads) for a power of two, else those of the power below and every second of the one above.
 * Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_alibi_bias(mill_exec* exec, int64_t heads, int64_t queries, int64_t keys, mill_dtype dtype,
                    mill_tensor** out, mill_error* err);

/* (a scale_a) (b scale_b), as mill_matmul, for operands that were scaled to fit a small dtype (f8,
 * f16, bf16, or any other floating one): products and sums in f32 (in f64 where an operand is),
 * rounded once to dtype. scales: broadcast to the product, so [] or one for each row or column;
 * NULL = 1. Gradients by a and b have their dtypes, by the scales theirs. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_scaled_matmul(mill_exec* exec, mill_tensor* a, mill_tensor* b, mill_tensor* scale_a,
                       mill_tensor* scale_b, mill_dtype dtype, mill_tensor** out, mill_error* err);

/* mill_cross_entropy of mill_linear(x, weight, bias) without all logits in memory at a time: x
 * [..., in], weight [classes, in], bias [classes] or NULL, labels [...]; what it keeps for backward
 * is its inputs, and of the logits both passes hold `rows` rows (0: as many as make 32 MiB in f32).
 * Costs one product more than the two ops where a tape records. Such a backward cannot be recorded
 * itself (MILL_E_NO_GRADIENT), but where all rows fit one part it is those two ops. The rest as
 * there; also MILL_E_INDEX (a label). Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_linear_cross_entropy(mill_exec* exec, mill_tensor* x, mill_tensor* weight,
                              mill_tensor* bias, mill_tensor* labels, int64_t reduction,
                              double label_smoothing, int64_t ignore_index, int64_t rows,
                              mill_tensor** out, mill_error* err);

/* ---- recurrent networks ----------------------------------------------------------------------
 *
 * Layers of LSTM, GRU or plain recurrent units over whole sequences, as PyTorch's modules of these
 * names: for each layer and direction one linear over all time, then lstm_sequence, gru_sequence or
 * rnn_sequence of the op table, where the formulas are. A cell is a sequence of one step.
 * x: [T, batch, in], with batch_first [batch, T, in]. weights: for each layer, and in it for each
 * direction, four tensors: w_ih [G H, in], w_hh [G H, H], b_ih [G H], b_hh [G H], where G is 4, 3
 * or 1 and a bias may be NULL; above the first layer `in` is the number of directions times H.
 * n_weights: 4 * layers * directions (1, or 2 if bidirectional). h0 and c0: [layers * directions,
 * batch, H], NULL = 0. lengths: [batch] of an integer dtype, NULL = T for all: sequence b ends
 * after lengths[b] steps, the results behind it are 0, its state at the end is that after its last
 * step, and the second direction starts there. dropout: probability in [0, 1] of an element between
 * two layers to be zeroed, drawn from the exec's generator; 0 outside training. *out: [T, batch,
 * directions * H], batch_first as x. h_n and c_n (NULL: not wanted), *h_n and *c_n: states at the
 * end, [layers * directions, batch, H]. Each is NULL, then allocated, or written, with these dims
 * and the dtype of the results. All dtypes are one of f16, bf16, f32, f64, or promote. Errors:
 * MILL_E_ARG (counts, dropout, NULL), MILL_E_SHAPE (names op, operand and both dims), MILL_E_INDEX
 * (a length outside [0, T]), MILL_E_STATE (dropout without a generator), MILL_E_DTYPE,
 * MILL_E_DEVICE, MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY. */

/* Hochreiter and Schmidhuber, 1997. Gates i, f, g, o. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_lstm(mill_exec* exec, mill_tensor* x, mill_tensor* const* weights, uint32_t n_weights,
              mill_tensor* h0, mill_tensor* c0, mill_tensor* lengths, mill_bool bidirectional,
              mill_bool batch_first, double dropout, mill_tensor** out, mill_tensor** h_n,
              mill_tensor** c_n, mill_error* err);

/* Cho et al., 2014, with the reset behind the product. Gates r, z, n. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_gru(mill_exec* exec, mill_tensor* x, mill_tensor* const* weights, uint32_t n_weights,
             mill_tensor* h0, mill_tensor* lengths, mill_bool bidirectional, mill_bool batch_first,
             double dropout, mill_tensor** out, mill_tensor** h_n, mill_error* err);

/* Elman, 1990. tanh, or with relu max(0, .). Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_rnn(mill_exec* exec, mill_tensor* x, mill_tensor* const* weights, uint32_t n_weights,
             mill_tensor* h0, mill_tensor* lengths, mill_bool relu, mill_bool bidirectional,
             mill_bool batch_first, double dropout, mill_tensor** out, mill_tensor** h_n,
             mill_error* err);

#ifdef __cplusplus
}
#endif

#endif
