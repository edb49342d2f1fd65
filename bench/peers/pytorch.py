"""Runs RepVGG networks in PyTorch for `repvgg bench --peers`.

Reads requests from standard input and answers them on standard output, one JSON object a line, until its input ends.
"""

import base64
import json
import os
import sys
import time

# Replies have standard output for themselves: libraries print there too.
replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def reply(**fields):
    replies.write(json.dumps(fields) + "\n")
    replies.flush()


try:
    import torch
    from torch import nn
except ImportError as error:
    reply(error=str(error))
    sys.exit(0)


class SqueezeExcite(nn.Module):
    def __init__(self, down, up):
        super().__init__()
        self.down, self.up = down, up

    def forward(self, x):
        mean = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.up(torch.relu(self.down(mean))))


def convolution(tensors, stride=1, padding=0, groups=1):
    weight, bias = next(tensors), next(tensors)
    channels, per_group, size, _ = weight.shape
    layer = nn.Conv2d(per_group * groups, channels, size, stride, padding, groups=groups)
    layer.weight.data, layer.bias.data = weight, bias
    return layer


def build(request):
    """The fused network from the official deploy state dict, whose tensors are in the order of the blocks."""
    tensors = iter(torch.load(request["checkpoint"], weights_only=True).values())
    layers = []
    for block in request["blocks"]:
        gate = None
        if block["squeezeChannels"] > 0:
            gate = SqueezeExcite(convolution(tensors), convolution(tensors))
        activation = [nn.ReLU(inplace=True)]
        if gate:
            activation = [gate, *activation] if request["gateFirst"] else [*activation, gate]
        layers += [convolution(tensors, block["stride"], 1, block["groups"]), *activation]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    rest = list(tensors)  # A backbone has no classifier.
    if rest:
        weight, bias = rest
        linear = nn.Linear(*reversed(weight.shape))
        linear.weight.data, linear.bias.data = weight, bias
        layers.append(linear)
    return nn.Sequential(*layers).eval()


def load_input(request):
    batch, size = request["batch"], request["size"]
    with open(request["pixels"], "rb") as file:
        pixels = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)
    x = pixels.reshape(batch, size, size, 3).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(request[name]).reshape(1, 3, 1, 1) for name in ("mean", "std"))
    return (x - mean) / std


class Runner:
    def __init__(self, request):
        device, dtype = request["device"], getattr(torch, request["precision"])
        # What a user who wants speed sets: the fastest algorithm for each shape, and TF32 only where it is asked for.
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = request["tf32"]
        torch.backends.cuda.matmul.allow_tf32 = request["tf32"]
        to = {"device": device, "dtype": dtype, "memory_format": torch.channels_last}
        model = build(request).to(**to)
        self.host = load_input(request).to(dtype=dtype, memory_format=torch.channels_last)
        self.x = x = self.host.to(device)
        mode = request["mode"]
        if mode == "compile":
            from torch._inductor import config

            config.freezing = True
            torch._dynamo.reset()
            on_gpu = device != "cpu"
            model = torch.compile(model, mode="max-autotune" if on_gpu else None)
        self.batch = request["batch"]
        self.on_gpu = device != "cpu"
        self.run = lambda: model(x)
        if mode == "graph":
            self.run = self.capture(model, x)

    @staticmethod
    def capture(model, x):
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                model(x)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = model(x)

        def replay():
            graph.replay()
            return y

        return replay

    def finish(self):
        if self.on_gpu:
            torch.cuda.synchronize()

    def sample(self, seconds):
        # On a GPU two runs are enqueued at any time, as of ours, so that it is never without work.
        enqueued = [torch.cuda.Event() for _ in range(2)] if self.on_gpu else []
        self.finish()
        start = time.perf_counter()
        images = 0
        while images == 0 or time.perf_counter() - start < seconds:
            if self.on_gpu:
                enqueued.reverse()
                enqueued[0].synchronize()
            self.run()
            if self.on_gpu:
                enqueued[0].record()
            images += self.batch
        self.finish()
        return images / (time.perf_counter() - start)

    def latencies(self, seconds):
        """Milliseconds of single runs, from the input in the host's memory to the logits there."""
        self.finish()
        times = []
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            if self.on_gpu:
                self.x.copy_(self.host)
            self.run().cpu()
            times.append(1000 * (time.perf_counter() - start))
        return times


def gemm(seconds, size=1024):
    """GFLOP/s of a product of two square matrices in fp32, on the CPU."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    torch.mm(a, b)
    best = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, b)
        best = max(best, 2 * size**3 / (time.perf_counter() - start) / 1e9)
    return best


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.set_grad_enabled(False)
    runners = {}
    reply(version=torch.__version__, cuda=torch.cuda.is_available())
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["op"] == "open":
                runner = runners[request["id"]] = Runner(request)
                logits = runner.run().float().cpu().contiguous().numpy()
                reply(logits=base64.b64encode(logits.tobytes()).decode())
            elif request["op"] == "sample":
                reply(rate=runners[request["id"]].sample(request["seconds"]))
            elif request["op"] == "latency":
                reply(times=runners[request["id"]].latencies(request["seconds"]))
            elif request["op"] == "close":
                del runners[request["id"]]
                reply()
            elif request["op"] == "gemm":
                reply(gflops=gemm(request["seconds"]))
        except Exception as error:  # Anything: a compiler may be missing, or memory.
            reply(error=f"{type(error).__name__}: {error}".split("\n")[0])


main()
