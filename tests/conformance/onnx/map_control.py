"""Graphs inside graphs."""
from graph import run
from mapping import HANDLERS, host, maps


@maps("If")
def either(node, condition):
    branch = node.get("then_branch") if bool(host(condition)) else node.get("else_branch")
    return run(node.device, node.model, branch, [], HANDLERS, node.outer)
