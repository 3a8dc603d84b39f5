/* Millrace: parameter groups, optimizers, clipping, schedules and averages of the parameters. A
 * group keeps all its parameters, their gradients and the optimizer's state in flat buffers, so
 * that an update is one pass over memory.
 *
 * Several backwards before a step add up their gradients. For the gradient of their mean, tell the
 * optimizer how many there are (mill_optimizer_set_gradient_scale with 1 / n), or hand 1 / n to
 * mill_tape_backward as seed. To maximise, negate the loss. */
#ifndef MILL_OPTIM_H
#define MILL_OPTIM_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Makes an empty group for parameters of one dtype: f16, bf16, f32 or f64. Add parameters, then
 * build it.
 * Errors: MILL_E_ARG (no such dtype), MILL_E_DTYPE (no parameter can have it), MILL_E_BAD_HANDLE,
 * MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_group_create(mill_context* context, mill_dtype dtype, mill_group** out_group,
                      mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_group_retain(mill_group* group);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_group_release(mill_group* group);

/* Adds a parameter of the group's dtype. Names are unique in the group and copied. out_index (may
 * be NULL) counts from 0. Until the group is built one thread at a time may use it. Errors:
 * MILL_E_ARG (the name is empty or not UTF-8), MILL_E_SHAPE, MILL_E_STATE (built, or the name is
 * taken), MILL_E_BUSY (the group is in use), MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_group_add(mill_group* group, const char* name, const int64_t* dims, uint32_t rank,
                   uint32_t* out_index, mill_error* err);

/* Makes a tensor that no gradient reaches part of the group's state, as the running statistics of
 * batch_norm are: checkpoints save it as buffer.<name> and restore it, an optimizer leaves it
 * alone. It keeps its own memory, so writing it does not change the version of any parameter. The
 * group holds a reference. Names are unique among the group's buffers and copied. Works before and
 * after the group is built. Errors: MILL_E_ARG (the name is empty or not UTF-8), MILL_E_STATE (the
 * name is taken), MILL_E_DTYPE (c128, which no file holds), MILL_E_DEVICE (a tensor of another
 * context), MILL_E_BUSY (the group is in use), MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_group_add_buffer(mill_group* group, const char* name,
                                                         mill_tensor* tensor, mill_error* err);

/* Allocates the flat buffers on the exec's device and fills the parameters with zeros.
 * Errors: MILL_E_ARG, MILL_E_STATE (built or empty), MILL_E_DEVICE (an exec of another context),
 * MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_group_build(mill_group* group, mill_exec* exec, mill_error* err);

/* Number of parameters.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_group_count(mill_group* group, uint32_t* out_count, mill_error* err);

/* Index of a parameter by name.
 * Errors: MILL_E_ARG (no such name), MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_group_find(mill_group* group, const char* name, uint32_t* out_index, mill_error* err);

/* Name of parameter `index`, borrowed from the group.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_group_name(mill_group* group, uint32_t index, const char** out_name, mill_error* err);

/* The parameter as a tensor that every tape tracks. Writing into it (mill_tensor_write, or an op's
 * given output with an exec that records nothing) initialises it. Errors: MILL_E_ARG, MILL_E_STATE
 * (not built), MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_group_param(mill_group* group, uint32_t index, mill_tensor** out_tensor, mill_error* err);

/* Its gradient. MILL_NOT_READY (and a NULL tensor) when no backward has written it since the last
 * update. Errors: MILL_E_ARG, MILL_E_STATE (not built), MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_group_gradient(mill_group* group, uint32_t index, mill_tensor** out_tensor,
                        mill_error* err);

/* Forgets all gradients: the next backward assigns. A step does this itself.
 * Errors: MILL_E_ARG, MILL_E_BAD_HANDLE, MILL_E_BUSY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status mill_group_clear_gradients(mill_group* group, mill_error* err);

/* Fills a parameter by a usual rule: MILL_INIT_UNIFORM in [-a, a], MILL_INIT_NORMAL (0, a),
 * MILL_INIT_KAIMING (uniform, bound a * sqrt(3 / fan_in): He et al., 2015; a = sqrt(2) for ReLU),
 * MILL_INIT_XAVIER (uniform, bound a * sqrt(6 / (fan_in + fan_out)): Glorot and Bengio, 2010),
 * MILL_INIT_CONSTANT (a). fan_in is the product of all dims but the first, fan_out dims[0]. Draws
 * from the exec's generator. Errors: MILL_E_ARG (kind, index, a not finite), MILL_E_STATE (not
 * built, no generator), MILL_E_DEVICE, MILL_E_BAD_HANDLE, MILL_E_BUSY (exec or generator),
 * MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_group_init(mill_group* group, mill_exec* exec, uint32_t index, int32_t kind, double a,
                    mill_error* err);

enum mill_init_kinds {
  MILL_INIT_CONSTANT = 0,
  MILL_INIT_UNIFORM = 1,
  MILL_INIT_NORMAL = 2,
  MILL_INIT_KAIMING = 3,
  MILL_INIT_XAVIER = 4
};

/* Stochastic gradient descent as PyTorch's: see sgd_step in docs/ops.md. State: velocity (if
 * momentum > 0), in f32 (f64 for f64 parameters), and master for f16 and bf16 parameters: their f32
 * weights, which the steps update in their stead (sgd_master_step), starting as they are now. A
 * step takes over parameters that were written since the one before. The group must be built.
 * Errors: MILL_E_ARG (NaN or negative rate, momentum outside [0, 1), negative decay, nesterov
 * without momentum), MILL_E_STATE, MILL_E_DEVICE, MILL_E_BAD_HANDLE, MILL_E_BUSY, MILL_E_MEMORY.
 * Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_optimizer_create_sgd(mill_exec* exec, mill_group* group, double rate, double momentum,
                              double weight_decay, mill_bool nesterov,
                              mill_optimizer** out_optimizer, mill_error* err);

/* AdamW (Loshchilov and Hutter, 2019) as PyTorch's: see adamw_step in docs/ops.md. State: m and v,
 * and master as for SGD.
 * Errors: MILL_E_ARG (NaN or negative rate, betas outside [0, 1), eps not positive, negative
 * decay), and as mill_optimizer_create_sgd. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_optimizer_create_adamw(mill_exec* exec, mill_group* group, double rate, double beta1,
                                double beta2, double eps, double weight_decay,
                                mill_optimizer** out_optimizer, mill_error* err);

/* What mill_optimizer_create_adam may be asked for. */
enum mill_adam_flags {
  MILL_ADAM_AMSGRAD = 1,  /* divide by the largest v so far: Reddi et al., 2018 */
  MILL_ADAM_DECOUPLED = 2 /* weight decay as AdamW's, not added to the gradient */
};

/* Adam (Kingma and Ba, 2015) as PyTorch's, weight decay added to the gradient: see adam_step in
 * docs/ops.md. State: m and v, v_max with MILL_ADAM_AMSGRAD, and master as for SGD. flags are bits
 * of mill_adam_flags. Without flags and decay it is AdamW without decay.
 * Errors: MILL_E_ARG (NaN or negative rate, betas outside [0, 1), eps not positive, negative decay,
 * an unknown flag), and as mill_optimizer_create_sgd. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_optimizer_create_adam(mill_exec* exec, mill_group* group, double rate, double beta1,
                               double beta2, double eps, double weight_decay, uint64_t flags,
                               mill_optimizer** out_optimizer, mill_error* err);

/* RMSprop (Tieleman and Hinton, 2012; centered: Graves, 2013) as PyTorch's: see rmsprop_step in
 * docs/ops.md. State: square, mean if centered, velocity if momentum > 0, and master as for SGD.
 * Usual: rate 0.01, alpha 0.99, eps 1e-8. Unlike PyTorch's, a centered variance that rounding makes
 * negative counts as 0.
 * Errors: MILL_E_ARG (NaN or negative rate, alpha or momentum outside [0, 1), eps not positive,
 * negative decay), and as mill_optimizer_create_sgd. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_optimizer_create_rmsprop(mill_exec* exec, mill_group* group, double rate, double alpha,
                                  double eps, double momentum, double weight_decay,
                                  mill_bool centered, mill_optimizer** out_optimizer,
                                  mill_error* err);

/* Adagrad (Duchi et al., 2011) as PyTorch's: see adagrad_step in docs/ops.md. State: sum, which
 * begins as `initial` everywhere, and master as for SGD. Step t divides the rate by
 * 1 + (t - 1) * rate_decay. Usual: rate 0.01, rate_decay 0, initial 0, eps 1e-10.
 * Errors: MILL_E_ARG (NaN or negative rate, rate_decay, initial or decay, eps not positive), and as
 * mill_optimizer_create_sgd. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_optimizer_create_adagrad(mill_exec* exec, mill_group* group, double rate,
                                  double rate_decay, double initial, double eps,
                                  double weight_decay, mill_optimizer** out_optimizer,
                                  mill_error* err);

/* Lion (Chen et al., 2023): see lion_step in docs/ops.md. State: m, and master as for SGD. Usual:
 * a third to a tenth of AdamW's rate with as many times its decay, beta1 0.9, beta2 0.99.
 * Errors: MILL_E_ARG (NaN or negative rate, betas outside [0, 1), negative decay), and as
 * mill_optimizer_create_sgd. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_optimizer_create_lion(mill_exec* exec, mill_group* group, double rate, double beta1,
                               double beta2, double weight_decay, mill_optimizer** out_optimizer,
                               mill_error* err);

/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_optimizer_retain(mill_optimizer* optimizer);
/* Since: 1 */
MILL_API MILL_SINCE(1) void mill_optimizer_release(mill_optimizer* optimizer);

/* Updates every parameter that has a fresh gradient, in one fused pass; one without is skipped (no
 * decay, no moments). Learning rate, step and clip factor are read from device memory. Afterwards
 * no gradient is fresh. Errors: MILL_E_ARG, MILL_E_STATE (the averages are swapped in), MILL_E_BUSY
 * (exec, or the group is in a backward), MILL_E_DEVICE, MILL_E_BAD_HANDLE, MILL_E_MEMORY; nothing
 * was updated then. When the device itself
 * fails in the middle (MILL_E_DEVICE_LOST, MILL_E_INTERNAL), some parameters are updated and others
 * are not, no gradient is fresh, and a checkpoint is the way back. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_optimizer_step(mill_optimizer* optimizer, mill_exec* exec, mill_error* err);

/* The base learning rate, which a schedule multiplies.
 * Errors: MILL_E_ARG (NaN, negative), MILL_E_DEVICE, MILL_E_BAD_HANDLE, MILL_E_BUSY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_optimizer_set_rate(mill_optimizer* optimizer, mill_exec* exec, double rate,
                            mill_error* err);

/* Linear warm-up over the first `warmup` steps, then constant (MILL_SCHEDULE_CONSTANT) or a cosine
 * that reaches rate * floor at step `total` (MILL_SCHEDULE_COSINE): see schedule in docs/ops.md.
 * Errors: MILL_E_ARG (shape, negative counts, total <= warmup, floor outside [0, 1]),
 * MILL_E_BAD_HANDLE, MILL_E_BUSY (the group is in use). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_optimizer_set_schedule(mill_optimizer* optimizer, int32_t shape, int64_t warmup,
                                int64_t total, double floor, mill_error* err);

/* As mill_optimizer_set_schedule, with every shape. The rate of step t (1 at the first update) is
 * the base rate times
 *   while t <= warmup  start + (1 - start) * t / warmup, and afterwards, with n = t - warmup,
 *                      p = min(1, n / (total - warmup)) and wave(x) = (1 + cos(pi x)) / 2,
 *   CONSTANT           1
 *   COSINE             floor + (1 - floor) * wave(p): Loshchilov and Hutter, 2017
 *   LINEAR             1 - (1 - floor) * p
 *   RESTARTS           floor + (1 - floor) * wave(position in the cycle), where the first cycle
 *                      takes `period` steps and each later one `factor` times as many as the one
 *                      before (a whole number): SGDR, Loshchilov and Hutter, 2017
 *   STEPS              factor ^ (n / period rounded down), and at least floor
 *   EXPONENTIAL        factor ^ (n / period), and at least floor
 *   POLYNOMIAL         floor + (1 - floor) * (1 - p) ^ factor
 *   ONE_CYCLE          as COSINE, but up to step warmup, too, a wave: from `start` at step 1 to 1.
 *                      PyTorch's OneCycleLR with pct_start = warmup / total, div_factor = 1 / start
 *                      and final_div_factor = start / floor: Smith and Topin, 2018
 *   INVERSE_ROOT       sqrt(max(warmup, 1) / t), and at least floor: Vaswani et al., 2017
 * What a shape does not use may have any allowed value (total 0, floor 0, start 0, period 1, factor
 * 1). The device computes it from its step count, so that a captured step can be replayed. Errors:
 * MILL_E_ARG (shape, negative counts, total <= warmup where the shape has an end, floor or start
 * outside [0, 1], period below 1, factor not finite and above 0 or, for RESTARTS, no whole number
 * up to 2^31), MILL_E_BAD_HANDLE, MILL_E_BUSY (the group is in use). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_optimizer_set_schedule_shape(mill_optimizer* optimizer, int32_t shape, int64_t warmup,
                                      int64_t total, double floor, double start, int64_t period,
                                      double factor, mill_error* err);

/* Dampening of SGD's momentum, 0 unless set, as PyTorch's: see momentum_step in docs/ops.md. At
 * step 1 the velocity becomes the gradient; a parameter whose first gradient comes later begins
 * with a velocity of 0. Errors: MILL_E_ARG (outside [0, 1]), MILL_E_STATE (above 0, and the
 * optimizer is not SGD, has no momentum or is nesterov), MILL_E_BAD_HANDLE, MILL_E_BUSY (the group
 * is in use). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_optimizer_set_dampening(mill_optimizer* optimizer, double dampening, mill_error* err);

/* Rate and weight decay of parameter `index` of the group: its rate is the optimizer's times
 * rate_factor (0: it does not move), its decay weight_decay in place of the optimizer's. Unless set
 * they are 1 and what the optimizer was created with. Parameters beside one another with the same
 * options are still updated in one pass, so add those that have no decay one after the other.
 * Checkpoints do not hold them. Errors: MILL_E_ARG (index, NaN or negative factor or decay),
 * MILL_E_DEVICE, MILL_E_BAD_HANDLE, MILL_E_BUSY (exec, or the group is in use), MILL_E_MEMORY.
 * Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_optimizer_set_param_options(mill_optimizer* optimizer, mill_exec* exec, uint32_t index,
                                     double rate_factor, double weight_decay, mill_error* err);

/* What each step multiplies all fresh gradients by before anything else, 1 unless set: 1 / n for
 * the mean of n accumulated backwards. It multiplies them beside the loss scale, costs no pass over
 * memory and does not change what mill_group_gradient shows. Errors: MILL_E_ARG (outside 2^-24 to
 * 2^24), MILL_E_BAD_HANDLE, MILL_E_BUSY (the group is in use). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_optimizer_set_gradient_scale(mill_optimizer* optimizer, double scale, mill_error* err);

/* Each step first brings every element of the fresh gradients into [-limit, limit], in place and in
 * one pass over them; 0 turns it off. The limit is for what the step uses: gradients without the
 * loss scale and times the gradient scale. With clipping by norm, too, this comes first, and the
 * norm is that of the clipped values. NaN stays NaN; while the loss is scaled an infinity stays,
 * and the step is skipped. A step that is refused may have clipped. Errors: MILL_E_ARG (NaN,
 * negative, infinite), MILL_E_BAD_HANDLE, MILL_E_BUSY (the group is in use). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_optimizer_set_clip_value(mill_optimizer* optimizer, double limit, mill_error* err);

/* Each step first scales all fresh gradients so that their joint 2-norm is at most max_norm; 0
 * turns it off. Errors: MILL_E_ARG (NaN, negative), MILL_E_BAD_HANDLE, MILL_E_BUSY (the group is in
 * use). Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_optimizer_set_clip_norm(mill_optimizer* optimizer, double max_norm, mill_error* err);

/* Dynamic loss scaling (Micikevicius et al., 2018), all on the device: hand the scale to
 * mill_tape_backward as seed, and each step divides it out of the gradients before it clips and
 * updates. A step whose gradients are not all finite, or too large for the sum of their squares to
 * be (about 1e19 in f32), changes no parameter, no state and no step count, and multiplies the
 * scale by backoff (down to 2^-24); after `interval` good steps in a row
 * it is multiplied by growth (up to 2^24). Usual: 65536, 2, 0.5, 2000. initial 0 turns it off (the
 * default), whatever the others say; any other starts anew from there, in the same tensor if it was
 * on. One optimizer scales one backward. Errors: MILL_E_ARG (initial outside 2^-24 to 2^24, growth
 * outside 1 to 2^24, backoff outside (0, 1), interval below 1), MILL_E_DEVICE, MILL_E_BAD_HANDLE,
 * MILL_E_BUSY, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_optimizer_set_loss_scale(mill_optimizer* optimizer, mill_exec* exec, double initial,
                                  double growth, double backoff, int64_t interval, mill_error* err);

/* The scale as a device-side scalar, [] of f32 (f64 for f64 parameters), which every step changes
 * in place. The loss should be f32: 65536 is infinite in f16. Errors: MILL_E_ARG, MILL_E_STATE
 * (loss scaling is off), MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_optimizer_loss_scale(mill_optimizer* optimizer, mill_tensor** out_scale, mill_error* err);

/* An exponential moving average of the weights: it begins as they are now, and each step ends with
 * ema = d * ema + (1 - d) * weights for all parameters of the group, with d = decay, or, with
 * warm_up, min(decay, (1 + t) / (10 + t)) at step t, as tf.train.ExponentialMovingAverage. A step
 * that the loss scaler skips leaves it. State: ema, in f32 (f64 for f64 parameters), of the master
 * weights where there are some; a checkpoint has it while it is on. decay 0 turns it off and
 * forgets it; another decay goes on with the average there is. Errors: MILL_E_ARG (outside [0, 1)),
 * MILL_E_STATE (the averages are swapped in), MILL_E_DEVICE, MILL_E_BAD_HANDLE, MILL_E_BUSY (exec,
 * or the group is in use), MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_optimizer_set_ema(mill_optimizer* optimizer, mill_exec* exec, double decay,
                           mill_bool warm_up, mill_error* err);

/* The average of parameter `index`, with its dims, in f32 (f64 for f64 parameters): a view that
 * later steps change. While the averages are swapped in it holds the weights. Errors: MILL_E_ARG,
 * MILL_E_STATE (there are no averages), MILL_E_BAD_HANDLE, MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_optimizer_ema(mill_optimizer* optimizer, uint32_t index, mill_tensor** out_tensor,
                       mill_error* err);

/* Weights and averages change places: the group's parameters become the averages (rounded, where
 * they have 16 bits), for evaluation. A second call brings the weights back, bit for bit. In
 * between steps and checkpoints with this optimizer are refused with MILL_E_STATE; gradients that a
 * backward leaves there stay for the next step (mill_group_clear_gradients forgets them). Needs the
 * memory of the weights for its time. Errors: MILL_E_STATE (there are no averages), MILL_E_DEVICE,
 * MILL_E_BAD_HANDLE, MILL_E_BUSY (exec, or the group is in use), MILL_E_MEMORY. Since: 1 */
MILL_API MILL_SINCE(1) mill_status
    mill_optimizer_swap_ema(mill_optimizer* optimizer, mill_exec* exec, mill_error* err);

/* Device-side scalars, one element each: the learning rate and the gradient norm (before clipping
 * by norm, without the loss scale, times the gradient scale) of the last step. The norm is
 * MILL_E_STATE while clipping and loss scaling are off. Read them with mill_tensor_read_async.
 * Errors: MILL_E_ARG, MILL_E_STATE, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_optimizer_rate(mill_optimizer* optimizer, mill_tensor** out_rate, mill_error* err);
/* Since: 1 */
MILL_API MILL_SINCE(1) MILL_OWNS mill_status
    mill_optimizer_norm(mill_optimizer* optimizer, mill_tensor** out_norm, mill_error* err);

/* Number of steps taken.
 * Blocks until the device has the counter. Errors: MILL_E_ARG, MILL_E_BAD_HANDLE. Since: 1 */
MILL_API MILL_SINCE(1) MILL_BLOCKS mill_status
    mill_optimizer_steps(mill_optimizer* optimizer, int64_t* out_steps, mill_error* err);

#ifdef __cplusplus
}
#endif
#endif
