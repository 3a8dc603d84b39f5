"""Losses, with weights of classes and labels to be left out."""
import numpy as np

from mapping import maps, scalar


def weighted(node, log_probabilities, labels, weights):
    """-log p of each label times its class's weight, reduced as the node says. The mean is by weight."""
    classes = log_probabilities.dims[1]
    deeper = [1] * (len(labels.dims) - 1)
    numbers = node.op("reshape", node.op("arange", count=classes, dtype=np.int64), dims=[1, classes, *deeper])
    ids = node.op("reshape", node.op("cast", labels, dtype=np.int64), dims=[labels.dims[0], 1, *labels.dims[1:]])
    its = node.op("compare", ids, numbers, relation=0)
    zero = scalar(log_probabilities, 0)
    chosen = node.op("sum", node.op("where", its, log_probabilities, zero), axes=[1])
    if weights is None:
        weight = node.op("fill", dims=labels.dims, dtype=log_probabilities.dtype, value=1)
    else:
        of_class = node.op("reshape", weights, dims=[1, classes, *deeper])
        weight = node.op("sum", node.op("where", its, of_class, zero), axes=[1])
    if node.get("ignore_index") is not None:
        left_out = node.op("compare", labels, scalar(labels, node.get("ignore_index")), relation=0)
        weight = node.op("where", left_out, zero, weight)
    loss = node.op("neg", node.op("mul", chosen, weight))
    reduction = node.get("reduction", "mean")
    if reduction == "none":
        return loss
    total = node.op("sum", loss)
    return total if reduction == "sum" else node.op("div", total, node.op("sum", weight))


@maps("NegativeLogLikelihoodLoss")
def negative_log_likelihood(node, log_probabilities, labels, weights=None):
    return weighted(node, log_probabilities, labels, weights)


@maps("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(node, scores, labels, weights=None):
    log_probabilities = node.op("log_softmax", scores, axis=1)
    return weighted(node, log_probabilities, labels, weights), log_probabilities
