"""Compares what Scribe reads and writes with the formats' own libraries.

1. Scribe writes a GGUF and a SafeTensors file; gguf and safetensors must read the same from them.
2. gguf and safetensors write files and a folder of shards; Scribe must read the same from them.
3. Each GGUF or SafeTensors file given after that must look the same to both.

Usage: cargo build --package artifacts --example containers
       python xtask/python/check_containers.py target/debug/examples/containers FOLDER [MODEL...]
FOLDER must exist; the files are written there. Needs: gguf, safetensors, torch, numpy
"""

import hashlib
import json
import pathlib
import subprocess
import sys

import gguf
import numpy
import torch
from safetensors import safe_open
from safetensors.torch import save_file

TORCH_NAMES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16",
    torch.int32: "I32", torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float32: "F32", torch.float64: "F64", torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2", torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
}


def main():
    tool, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    subprocess.run([tool, "write", folder], check=True)
    write_gguf(folder / "python.gguf")
    write_safetensors(folder)
    names = ["rust.gguf", "python.gguf", "rust.safetensors", "python.safetensors", "shards"]
    for path in [folder / name for name in names] + [pathlib.Path(name) for name in sys.argv[3:]]:
        compare(tool, path)


def compare(tool, path):
    described = subprocess.run([tool, "describe", path], check=True, capture_output=True)
    ours = json.loads(described.stdout)
    theirs = describe_gguf(path) if path.suffix == ".gguf" else describe_safetensors(path)
    assert ours["tensors"].keys() == theirs["tensors"].keys(), path
    for name, tensor in theirs["tensors"].items():
        for fact, value in tensor.items():
            found = ours["tensors"][name][fact]
            assert found == value, f"{path} {name} {fact}: {found} instead of {value}"
    assert ours["metadata"].keys() == theirs["metadata"].keys(), path
    for key, value in theirs["metadata"].items():
        assert ours["metadata"][key] == value, f"{path}: {key}"
    keys, tensors = len(theirs["metadata"]), len(theirs["tensors"])
    print(f"{path.name}: {keys} metadata keys and {tensors} tensors are the same to both")


def describe_gguf(path):
    reader = gguf.GGUFReader(path)
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    tensors = {
        tensor.name: {
            "dtype": tensor.tensor_type.name,
            "shape": [int(size) for size in reversed(tensor.shape)],
            "offset": int(tensor.data_offset),
            "bytes": int(tensor.n_bytes),
            "sha256": digest(tensor.data.tobytes()),
        }
        for tensor in reader.tensors
    }
    metadata = {key: field.contents() for key, field in fields.items()}
    return {"metadata": metadata, "tensors": tensors}


def describe_safetensors(path):
    tensors, metadata = {}, {}
    for shard in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        with safe_open(shard, framework="pt") as file:
            metadata = {} if path.is_dir() else file.metadata() or {}
            for name in file.keys():
                tensor = file.get_tensor(name)
                data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
                tensors[name] = {
                    "dtype": TORCH_NAMES[tensor.dtype],
                    "shape": list(tensor.shape),
                    "bytes": len(data),
                    "sha256": digest(data),
                }
    return {"metadata": metadata, "tensors": tensors}


def write_gguf(path):
    random = numpy.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("u8", 255)
    writer.add_int8("i8", -128)
    writer.add_uint64("u64", 2**64 - 1)
    writer.add_int64("i64", -(2**63))
    writer.add_float32("f32", 0.1)
    writer.add_float64("f64", 0.1)
    writer.add_bool("yes", True)
    writer.add_string("text", "Ġé\n\0")
    writer.add_array("tokens", ["", "a", "Ġb"])
    writer.add_array("types", [3, 1, -1])
    writer.add_array("scores", [0.5, -1.25])
    writer.add_array("truths", [True, False])
    for name in ["float32", "float16", "float64", "int8", "int16", "int32", "int64"]:
        data = (random.standard_normal((3, 5)) * 100).astype(name)
        writer.add_tensor(f"{name}.weight", data)
    for dtype in ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16"]:
        dtype = gguf.GGMLQuantizationType[dtype]
        data = gguf.quants.quantize(random.standard_normal((3, 64)).astype(numpy.float32), dtype)
        writer.add_tensor(f"{dtype.name}.weight", data, raw_dtype=dtype)
    for dtype in ["Q4_K", "Q5_K", "Q6_K"]:
        dtype = gguf.GGMLQuantizationType[dtype]
        _, size = gguf.GGML_QUANT_SIZES[dtype]
        data = random.integers(0, 256, (2, size), numpy.uint8)
        writer.add_tensor(f"{dtype.name}.weight", data, raw_dtype=dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_safetensors(folder):
    generator = torch.Generator().manual_seed(1)
    tensors = {
        name: (torch.rand((3, 5), generator=generator) * 2).to(dtype)
        for dtype, name in TORCH_NAMES.items()
    }
    tensors["scalar"] = torch.tensor(1.5)
    tensors["empty"] = torch.zeros((0, 4))
    tensors["deep"] = torch.rand((1, 2, 1, 2, 1, 2), generator=generator)
    save_file(tensors, folder / "python.safetensors", metadata={"format": "pt", "é": "\n\""})
    shards = folder / "shards"
    shards.mkdir(exist_ok=True)
    weight_map = {}
    for number, names in enumerate([sorted(tensors)[::2], sorted(tensors)[1::2]], 1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in names}, shards / file)
        weight_map |= {name: file for name in names}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def digest(data):
    return hashlib.sha256(data).hexdigest()


main()
