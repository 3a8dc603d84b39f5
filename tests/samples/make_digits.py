#!/usr/bin/env python3
"""Writes a small set of made-up digits: ten random pictures of 8x8, each example one of them under noise.

make_digits.py DIR writes IDX files under MNIST's names (the training set compressed, the test set not) and the same
examples as train.csv and test.csv. Every run writes the same bytes.
"""
import gzip
import os
import random
import struct
import sys

folder = sys.argv[1]
draw = random.Random(7)
pictures = [[draw.choice((0, 16)) for _ in range(64)] for _ in range(10)]


def example(number):
    return [min(16, max(0, value + draw.randint(-6, 6))) for value in pictures[number]]


for name, count in (("train", 640), ("t10k", 200)):
    labels = [i % 10 for i in range(count)]
    images = [example(number) for number in labels]
    pack = gzip.compress if name == "train" else bytes
    suffix = ".gz" if name == "train" else ""
    with open(os.path.join(folder, f"{name}-images-idx3-ubyte{suffix}"), "wb") as out:
        pixels = bytes(value * 15 for image in images for value in image)
        out.write(pack(struct.pack(">IIII", 0x803, count, 8, 8) + pixels))
    with open(os.path.join(folder, f"{name}-labels-idx1-ubyte{suffix}"), "wb") as out:
        out.write(pack(struct.pack(">II", 0x801, count) + bytes(labels)))
    with open(os.path.join(folder, "train.csv" if name == "train" else "test.csv"), "w") as out:
        for image, number in zip(images, labels):
            out.write(",".join(map(str, image + [number])) + "\n")
