/* Millrace: functions that run ops of the table one after the other. A tape records the ops; there
 * is nothing else that gradients, autocast or a profiler would see. */
#ifndef MILL_COMPOSE_H
#define MILL_COMPOSE_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

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
