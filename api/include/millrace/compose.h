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

#ifdef __cplusplus
}
#endif

#endif
