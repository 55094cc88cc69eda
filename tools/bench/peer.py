"""One peer of the benchmark, in a process of its own: does what bench.py asks, a JSON object a line,
and answers so, as mha-bench-opencl does.

Usage: peer.py torch|onnxruntime|openvino THREADS
"""

from __future__ import annotations

import collections.abc
import json
import sys
import time

import numpy as np

from cases import read_inputs

MAX_CALLS = 1000

# Computes once, and returns what holds the output.
Call = collections.abc.Callable[[], object]
# Ways to compute a case by name, and why there is none by another.
Ways = dict[str, Call | str]


def merge_heads(x: np.ndarray) -> np.ndarray:
    """[batch][heads][tokens][head_dim] to [batch][tokens][heads * head_dim]."""
    batch, heads, tokens, width = x.shape
    return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(batch, tokens, heads * width)


def split_heads(x: np.ndarray, heads: int) -> np.ndarray:
    batch, tokens, width = x.shape
    return x.reshape(batch, tokens, heads, width // heads).transpose(0, 2, 1, 3)


def additive_mask(case: dict, inputs: dict) -> np.ndarray | None:
    """What is added to the scores, [1 or batch][1 or heads][queries][keys]."""
    if "bias" in inputs:
        return inputs["bias"][None]
    if "mask" in inputs:
        return np.where(inputs["mask"][None], np.float32(0), np.float32(-np.inf))
    return None


# ---- PyTorch -------------------------------------------------------------------------------------


class Torch:
    def __init__(self, threads: int):
        import torch
        self.torch = torch
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.name = f"PyTorch {torch.__version__.split('+')[0]}"

    def mask(self, case: dict, inputs: dict):
        """Boolean where it may be, as PyTorch's users have it."""
        torch = self.torch
        if "bias" in inputs:
            return torch.from_numpy(inputs["bias"][None])
        if "mask" in inputs:
            return torch.from_numpy(inputs["mask"][None].astype(bool))
        if "kv_lengths" in inputs:
            keys = np.arange(case["seqlen_kv"])[None, None, None, :]
            return torch.from_numpy(keys < inputs["kv_lengths"][:, None, None, None])
        return None

    def naive(self, q, k, v, case: dict, mask):
        torch = self.torch
        group = case["q_heads"] // case["kv_heads"]
        if group > 1:
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        scores = q @ k.transpose(-1, -2) * case["head_dim"]**-0.5
        if case["causal"]:
            hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(hidden, -torch.inf)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else (
                scores + mask)
        weights = scores.softmax(-1)
        return weights @ v, weights

    def ways(self, case: dict, inputs: dict) -> Ways:
        torch, functional = self.torch, self.torch.nn.functional
        data = {name: torch.from_numpy(value) for name, value in inputs.items()}
        if case["kind"] == "layer":
            embed, heads = case["q_heads"] * case["head_dim"], case["q_heads"]
            shape = (case["batch"], case["seqlen_q"], 3, heads, case["head_dim"])

            def layer():
                qkv = functional.linear(data["x"], data["qkv_weight"], data["qkv_bias"])
                q, k, v = qkv.view(shape).permute(2, 0, 3, 1, 4)
                o = functional.scaled_dot_product_attention(q, k, v)
                o = o.transpose(1, 2).reshape(case["batch"], case["seqlen_q"], embed)
                return functional.linear(o, data["output_weight"], data["output_bias"])
            return {f"{self.name} layer": layer}
        mask = self.mask(case, inputs)
        q, k, v = data["q"], data["k"], data["v"]
        ways: Ways = {f"{self.name} naive": lambda: self.naive(q, k, v, case, mask)[0]}
        if not case["scores"]:
            ways[f"{self.name} SDPA"] = lambda: functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=case["causal"],
                enable_gqa=case["q_heads"] != case["kv_heads"])
        return ways

    @staticmethod
    def to_numpy(output, case: dict) -> np.ndarray:
        del case
        return output.float().contiguous().numpy()


# ---- ONNX Runtime --------------------------------------------------------------------------------


class OnnxRuntime:
    def __init__(self, threads: int):
        import onnx
        import onnxruntime
        self.onnx, self.runtime, self.threads = onnx, onnxruntime, threads
        onnxruntime.set_default_logger_severity(3)
        self.name = f"ONNX Runtime {onnxruntime.__version__}"

    def session(self, nodes: list, inputs: dict[str, np.ndarray], constants: dict, output: tuple,
                more: tuple[str, ...] = ()) -> Call:
        """`inputs` are fed, `constants` belong to the model; `output` is the shape of "y". Both stay
        where they are from call to call."""
        onnx, runtime = self.onnx, self.runtime
        helper = onnx.helper
        kind = helper.np_dtype_to_tensor_dtype
        graph = helper.make_graph(
            nodes, "case",
            [helper.make_tensor_value_info(name, kind(x.dtype), x.shape)
             for name, x in inputs.items()],
            [helper.make_tensor_value_info(name, kind(next(iter(inputs.values())).dtype), None)
             for name in ("y", *more)],
            [onnx.numpy_helper.from_array(np.ascontiguousarray(x), name)
             for name, x in constants.items()])
        opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        session = runtime.InferenceSession(model.SerializeToString(), options,
                                           providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        held = [np.ascontiguousarray(x) for x in inputs.values()]
        for name, x in zip(inputs, held):
            binding.bind_cpu_input(name, x)
        result = runtime.OrtValue.ortvalue_from_numpy(
            np.empty(output, next(iter(inputs.values())).dtype))
        binding.bind_ortvalue_output("y", result)
        for name in more:
            binding.bind_output(name)

        def call(held=held):
            del held
            session.run_with_iobinding(binding)
            return result
        call()
        return call

    def microsoft(self, case: dict, inputs: dict) -> Call:
        if case["q_heads"] != case["kv_heads"]:
            raise ValueError("MultiHeadAttention has no grouped heads")
        if case["dtype"] != "f32" or case["scores"]:
            raise ValueError("fp32 without weights only")
        data = {name: merge_heads(inputs[name]) for name in "qkv"}
        names = ["q", "k", "v"]
        if "kv_lengths" in inputs:
            data["lengths"] = inputs["kv_lengths"]
            names += ["", "lengths"]
        mask = additive_mask(case, inputs)
        if mask is not None:
            data["mask"] = mask
            names += [""] * (5 - len(names)) + ["mask"]
        node = self.onnx.helper.make_node("MultiHeadAttention", names, ["y"],
                                          domain="com.microsoft", num_heads=case["q_heads"],
                                          unidirectional=int(case["causal"]))
        return self.session([node], data, {}, data["q"].shape)

    def opset(self, case: dict, inputs: dict) -> Call:
        data = {name: inputs[name] for name in "qkv"}
        names = ["q", "k", "v"]
        if "kv_lengths" in inputs:
            keys = np.arange(case["seqlen_kv"])[None, None, None, :]
            seen = keys < inputs["kv_lengths"][:, None, None, None]
            shape = (case["batch"], 1, case["seqlen_q"], case["seqlen_kv"])
            data["mask"] = np.broadcast_to(seen, shape)
        elif "mask" in inputs:
            data["mask"] = inputs["mask"][None].astype(bool)
        elif "bias" in inputs:
            data["mask"] = inputs["bias"][None]
        outputs = ["y", "", "", "weights"] if case["scores"] else ["y"]
        node = self.onnx.helper.make_node(
            "Attention", names + (["mask"] if "mask" in data else []), outputs,
            is_causal=int(case["causal"]), **({"qk_matmul_output_mode": 3} if case["scores"] else {}))
        return self.session([node], data, {}, inputs["q"].shape,
                            ("weights",) if case["scores"] else ())

    def layer(self, inputs: dict, case: dict) -> Call:
        make = self.onnx.helper.make_node
        constants = {"w": inputs["qkv_weight"].T, "b": inputs["qkv_bias"],
                     "wo": inputs["output_weight"].T, "bo": inputs["output_bias"]}
        nodes = [make("Attention", ["x", "w", "b"], ["o"], domain="com.microsoft",
                      num_heads=case["q_heads"]),
                 make("MatMul", ["o", "wo"], ["p"]), make("Add", ["p", "bo"], ["y"])]
        return self.session(nodes, {"x": inputs["x"]}, constants, inputs["x"].shape)

    def ways(self, case: dict, inputs: dict) -> Ways:
        makers = {"MultiHeadAttention": lambda: self.microsoft(case, inputs),
                  "Attention": lambda: self.opset(case, inputs)}
        if case["kind"] == "layer":
            makers = {"layer": lambda: self.layer(inputs, case)}
        ways: Ways = {}
        for name, make in makers.items():
            try:
                ways[f"{self.name} {name}"] = make()
            except Exception as error:  # its own kinds differ from version to version
                ways[f"{self.name} {name}"] = str(error).splitlines()[0]
        return ways

    @staticmethod
    def to_numpy(output, case: dict) -> np.ndarray:
        y = output.numpy().astype(np.float32)
        return split_heads(y, case["q_heads"]) if y.ndim == 3 and case["kind"] != "layer" else y


# ---- OpenVINO ------------------------------------------------------------------------------------


class OpenVino:
    def __init__(self, threads: int):
        import openvino
        self.openvino = openvino
        self.core = openvino.Core()
        self.settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        self.name = f"OpenVINO {openvino.__version__.split('-')[0]}"

    def compile(self, result, parameters: list, data: dict[str, np.ndarray], dtype: str) -> Call:
        model = self.openvino.Model([result], parameters)
        settings = self.settings | ({"INFERENCE_PRECISION_HINT": "f32"} if dtype == "f32" else {})
        request = self.core.compile_model(model, "CPU", settings).create_infer_request()
        for name, x in data.items():
            request.set_tensor(name, self.openvino.Tensor(np.ascontiguousarray(x)))

        def call():
            request.infer()
            return request.get_output_tensor(0)
        call()
        return call

    def parameter(self, name: str, x: np.ndarray):
        from openvino import opset13
        return opset13.parameter(x.shape, x.dtype, name=name)

    def ways(self, case: dict, inputs: dict) -> Ways:
        try:
            make = self.layer if case["kind"] == "layer" else self.attention
            suffix = "layer" if case["kind"] == "layer" else "SDPA"
            return {f"{self.name} {suffix}": make(case, inputs)}
        except Exception as error:
            return {self.name: str(error).splitlines()[0]}

    def attention(self, case: dict, inputs: dict) -> Call:
        from openvino import opset13
        if case["scores"]:
            raise ValueError("gives no weights")
        data = {name: inputs[name] for name in "qkv"}
        group = case["q_heads"] // case["kv_heads"]
        if "kv_lengths" in inputs:
            keys = np.arange(case["seqlen_kv"])[None, None, None, :]
            seen = keys < inputs["kv_lengths"][:, None, None, None]
            data["mask"] = np.broadcast_to(
                seen, (case["batch"], 1, case["seqlen_q"], case["seqlen_kv"]))
        elif "mask" in inputs:
            data["mask"] = inputs["mask"][None].astype(bool)
        elif "bias" in inputs:
            data["mask"] = inputs["bias"][None]
        parameters = {name: self.parameter(name, x) for name, x in data.items()}
        nodes = dict(parameters)
        if group > 1:
            for name in "kv":
                shape = list(inputs[name].shape)
                five = opset13.unsqueeze(nodes[name], np.int64(2))
                wide = opset13.broadcast(five, np.array(
                    shape[:2] + [group] + shape[2:], np.int64), broadcast_spec="BIDIRECTIONAL")
                nodes[name] = opset13.reshape(wide, np.array(
                    [shape[0], shape[1] * group] + shape[2:], np.int64), False)
        result = opset13.scaled_dot_product_attention(
            nodes["q"], nodes["k"], nodes["v"], nodes.get("mask"), causal=case["causal"])
        return self.compile(result, list(parameters.values()), data, case["dtype"])

    def layer(self, case: dict, inputs: dict) -> Call:
        from openvino import opset13
        x = self.parameter("x", inputs["x"])
        packed = opset13.matmul(x, opset13.constant(inputs["qkv_weight"]), False, True)
        packed = opset13.add(packed, opset13.constant(inputs["qkv_bias"]))
        shape = [case["batch"], case["seqlen_q"], 3, case["q_heads"], case["head_dim"]]
        packed = opset13.reshape(packed, np.array(shape, np.int64), False)
        packed = opset13.transpose(packed, np.array([2, 0, 3, 1, 4], np.int64))
        q, k, v = (opset13.gather(packed, np.int64(i), np.int64(0)) for i in range(3))
        o = opset13.transpose(opset13.scaled_dot_product_attention(q, k, v),
                              np.array([0, 2, 1, 3], np.int64))
        o = opset13.reshape(o, np.array(inputs["x"].shape, np.int64), False)
        y = opset13.matmul(o, opset13.constant(inputs["output_weight"]), False, True)
        y = opset13.add(y, opset13.constant(inputs["output_bias"]))
        return self.compile(y, [x], {"x": inputs["x"]}, "f32")

    @staticmethod
    def to_numpy(output, case: dict) -> np.ndarray:
        del case
        return output.data.astype(np.float32)


# ---- Requests ------------------------------------------------------------------------------------

PEERS = {"torch": Torch, "onnxruntime": OnnxRuntime, "openvino": OpenVino}


class Worker:
    def __init__(self, peer):
        self.peer = peer
        self.case: dict = {}
        self.calls: dict[str, Call] = {}

    def open(self, request: dict) -> dict:
        self.case = request["case"]
        self.calls = {}
        ways = self.peer.ways(self.case, read_inputs(self.case))
        self.calls = {name: way for name, way in ways.items() if callable(way)}
        return {"contenders": [{"name": name} if callable(way) else {"name": name, "why": way}
                               for name, way in ways.items()]}

    def run(self, request: dict) -> dict:
        call, times, spent = self.calls[request["name"]], [], 0.0
        while not times or (spent < request["seconds"] and len(times) < MAX_CALLS):
            begun = time.perf_counter_ns()
            call()
            times.append(time.perf_counter_ns() - begun)
            spent += 1e-9 * times[-1]
        return {"ns": times}

    def write(self, request: dict) -> dict:
        output = self.peer.to_numpy(self.calls[request["name"]](), self.case)
        np.ascontiguousarray(output, np.float32).tofile(request["file"])
        return {}

    def close(self, request: dict) -> dict:
        del request
        self.calls = {}
        return {}


def main() -> int:
    try:
        worker = Worker(PEERS[sys.argv[1]](int(sys.argv[2])))
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return 0
    print(json.dumps({"name": worker.peer.name}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request["do"])(request)
        except Exception as error:  # a peer's own; the benchmark goes on without it
            answer = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
