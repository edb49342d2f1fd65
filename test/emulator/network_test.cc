// The CUDA backend as a whole, on the emulated runtime: networks of every form and precision against float64.
#include <cmath>
#include <future>
#include <map>

#include "engine/error.h"
#include "test/emulator/layers.h"
#include "test/emulator/networks.h"

namespace repvgg::emulator {
namespace {

TEST("network: deploy form, every precision and algorithm") {
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 3);
  for (const Precision precision : kPrecisions) {
    for (const auto algorithm :
         {ConvolutionAlgorithm::kDirect, ConvolutionAlgorithm::kF2, ConvolutionAlgorithm::kF4}) {
      const auto network = MakeNetwork(reference, precision, 2, algorithm);
      CheckLogits(reference, pixels, RunNetwork(*network, pixels), NetworkBound(precision));
    }
  }
  const auto turing = MakeNetwork(reference, Precision::kFp16, 2, {}, 75);
  CheckLogits(reference, pixels, RunNetwork(*turing, pixels), NetworkBound(Precision::kFp16));
  // Volta has no fp16 for odd channels.
  ExpectEqual(CodeOf([&] { MakeNetwork(reference, Precision::kFp16, 2, {}, 70); }),
              "ERR_PRECISION_UNSUPPORTED");
  NetworkShape even = reference.shape();
  even.blocks = {{3, 16, 2, 1, false, 0}, {16, 32, 1, 1, false, 0}, {32, 32, 1, 2, false, 0}};
  const Reference other(even);
  const auto volta = MakeNetwork(other, Precision::kFp16, 2, {}, 70);
  CheckLogits(other, pixels, RunNetwork(*volta, pixels), NetworkBound(Precision::kFp16));
}

TEST("network: train form and squeeze-and-excite") {
  for (const Form form : {Form::kDeploy, Form::kTrain}) {
    for (const auto position : {SqueezeExcitePosition::kNone, SqueezeExcitePosition::kBeforeRelu,
                                SqueezeExcitePosition::kAfterRelu}) {
      const Reference reference(MakeShape(form, position));
      const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 2);
      for (const Precision precision : kPrecisions) {
        const auto network = MakeNetwork(reference, precision, 2);
        CheckLogits(reference, pixels, RunNetwork(*network, pixels), NetworkBound(precision));
      }
    }
  }
}

// F(4x4) measures fastest, then F(2x2). Each algorithm has bits of its own, the same with every tile.
TEST("network: each value of winograd runs the fastest algorithm that it allows, also with gates") {
  using Algorithm = ConvolutionAlgorithm;
  const cuda::MeasureLayer measure = [](const cuda::Convolution&, const cuda::Candidate& candidate) {
    const Algorithm algorithm = AlgorithmOf(candidate.algorithm);
    return std::optional(algorithm == Algorithm::kF4 ? 1.0 : algorithm == Algorithm::kF2 ? 2.0 : 3.0);
  };
  for (const auto position : {SqueezeExcitePosition::kNone, SqueezeExcitePosition::kBeforeRelu}) {
    const Reference reference(MakeShape(Form::kDeploy, position));
    const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 1);
    for (const Precision precision : {Precision::kFp32, Precision::kFp16}) {
      const auto run = [&](Winograd winograd, std::optional<Algorithm> pinned) {
        BackendOptions options;
        options.precision = precision;
        options.winograd = winograd;
        options.algorithm = pinned;
        return RunNetwork(*MakeNetwork(reference, options, 80, measure), pixels, Output::kEmbedding);
      };
      const bool gated = position != SqueezeExcitePosition::kNone;
      const Algorithm automatic = precision == Precision::kFp16 || gated ? Algorithm::kF2 : Algorithm::kF4;
      std::map<Algorithm, std::vector<float>> found;
      for (const auto& [winograd, algorithm] :
           {std::pair(Winograd::kAuto, automatic), std::pair(Winograd::kOff, Algorithm::kDirect),
            std::pair(Winograd::kF2, Algorithm::kF2), std::pair(Winograd::kF4, Algorithm::kF4)}) {
        const std::vector<float> got = run(winograd, {});
        ExpectWithin(Compare({got.begin(), got.end()}, reference.Embedding(pixels.data())),
                     NetworkBound(precision));
        if (got != run(winograd, algorithm)) {
          Fail(std::string(PrecisionName(precision)) + (gated ? ", gated, " : ", ") + WinogradName(winograd) +
               " does not run " + AlgorithmName(algorithm));
        }
        found[algorithm] = got;
      }
      if (found[Algorithm::kDirect] == found[Algorithm::kF2] ||
          found[Algorithm::kF2] == found[Algorithm::kF4]) {
        Fail(std::string(PrecisionName(precision)) + ": two algorithms give the same bits");
      }
    }
  }
}

// With chunks of 2, 5 images keep all three streams busy, and the last chunk is not full.
TEST("network: an image's results do not depend on its batch") {
  const RestoreRuntime restore;
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 5);
  const size_t image = pixels.size() / 5, classes = reference.shape().num_classes;
  std::vector<float> first;
  for (const unsigned eager : {0, 1, 2, 4, 7}) {
    runtime_settings().eager = eager;
    const auto network = MakeNetwork(reference, Precision::kFp16, 2);
    const int graphs = GraphsMade();
    const std::vector<float> together = RunNetwork(*network, pixels);
    if (first.empty()) first = together;
    if (together != first) Fail("results depend on when streams run");
    for (int i = 4; i >= 0; --i) {
      const std::vector<float> alone =
          RunNetwork(*network, {pixels.begin() + i * image, pixels.begin() + (i + 1) * image});
      if (!std::equal(alone.begin(), alone.end(), together.begin() + i * classes)) {
        Fail("image " + std::to_string(i) + " has other results alone");
      }
    }
    // Those for 2 images are older.
    if (GraphsMade() != graphs + 4) Fail("both slots should have one graph for 2 images and one for 1");
  }
  CheckLogits(reference, pixels, first, NetworkBound(Precision::kFp16));
}

// Pixels are replaced while the other streams work, so a wait for the wrong block would show.
TEST("network: the first two layers in one kernel give the same bits, and their map takes no memory") {
  const RestoreRuntime restore;
  NetworkShape shape = MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone);
  shape.blocks = {{3, 48, 2, 1, false, 0}, {48, 48, 2, 1, false, 0}, {48, 32, 2, 1, false, 0}};
  shape.height = 70, shape.width = 41;
  const Reference reference(shape);
  const std::vector<uint8_t> pixels = RandomImages(shape, 5);
  for (const Precision precision : {Precision::kFp16, Precision::kBf16}) {
    for (const unsigned eager : {0, 1, 2, 4, 7}) {
      runtime_settings().eager = eager;
      size_t memory[2];
      std::vector<float> logits[2];
      for (const bool fused : {false, true}) {
        const size_t before = DeviceMemoryInUse();
        const auto network = MakeNetwork(
            reference, precision, 2, fused ? ConvolutionAlgorithm::kFused : ConvolutionAlgorithm::kDirect);
        logits[fused] = RunNetwork(*network, pixels);
        memory[fused] = DeviceMemoryInUse() - before;
        const std::string text = network->Describe();
        const bool told =
            text.find("\"fused\"") != std::string::npos && text.find("\"fused 64x48\"") != std::string::npos;
        if (told != fused) Fail(text);
        if (!(network->MeasureRate({pixels.data(), 2}, 0.001, Never) > 0)) Fail("no rate");
      }
      CheckLogits(reference, pixels, logits[1], NetworkBound(precision));
      if (logits[0] != logits[1]) Fail("other results");
      if (memory[1] >= memory[0]) Fail("the map between takes memory");
    }
  }
  // What cannot be fused runs separately, whatever is asked for.
  for (const auto& [precision, position] : {std::pair(Precision::kFp32, SqueezeExcitePosition::kNone),
                                            {Precision::kFp16, SqueezeExcitePosition::kAfterRelu}}) {
    shape.squeeze_excite = position;
    for (BlockShape& block : shape.blocks)
      block.squeeze_channels = position == SqueezeExcitePosition::kNone ? 0 : 5;
    const Reference other(shape);
    const auto network = MakeNetwork(other, precision, 2, ConvolutionAlgorithm::kFused);
    CheckLogits(other, pixels, RunNetwork(*network, pixels), NetworkBound(precision));
    if (network->Describe().find("fused") != std::string::npos) Fail(network->Describe());
  }
}

// Runs with other results follow each other without a wait, through both slots and a last chunk that is not
// full. Scores and indices of all 40 classes are more than logits or embeddings have.
TEST("network: the device ranks the classes, for any k and while other runs are under way") {
  const RestoreRuntime restore;
  NetworkShape shape = MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone);
  shape.num_classes = 40;
  const Reference reference(shape);
  const std::vector<uint8_t> pixels = RandomImages(shape, 5);
  const std::vector<float> logits = RunNetwork(*MakeNetwork(reference, Precision::kFp16, 2), pixels);
  for (const unsigned eager : {0, 1, 2, 4, 7}) {
    runtime_settings().eager = eager;
    const int graphs = GraphsMade();
    auto network = MakeNetwork(reference, Precision::kFp16, 2);
    std::vector<float> between(logits.size(), NAN);
    std::vector<Ranking> rankings;
    std::vector<int> order;
    for (const int k : {40, 0, 1, 5, 40}) {
      const size_t count = size_t{5} * k;
      Ranking& own = rankings.emplace_back(std::vector<float>(count, NAN), std::vector<int32_t>(count, -1));
      const Results results{k == 0 ? Output::kLogits : Output::kTopK, k,
                            k == 0 ? between.data() : own.scores.data(), own.indices.data()};
      network->Run({pixels.data(), 5}, results, Never, [&order, k](const std::exception_ptr& error) {
        if (error) Fail("a run failed");
        order.push_back(k);
      });
    }
    network.reset();  // Waits for the runs.
    if (order != std::vector<int>{40, 0, 1, 5, 40}) Fail("runs did not end in their order");
    if (between != logits) Fail("other logits between rankings");
    for (size_t i = 0; i < order.size(); ++i) {
      if (order[i] > 0) CheckRanking({logits, 5, order[i]}, rankings[i]);
    }
    if (GraphsMade() != graphs + 4) Fail("ranking should need no graphs");
  }
}

TEST("network: embeddings of a backbone") {
  NetworkShape shape = MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone);
  shape.num_classes = 0;
  const Reference reference(shape);
  const std::vector<uint8_t> pixels = RandomImages(shape, 1);
  const auto network = MakeNetwork(reference, Precision::kFp32, 1);
  const std::vector<float> got = RunNetwork(*network, pixels, Output::kEmbedding);
  ExpectWithin(Compare({got.begin(), got.end()}, reference.Embedding(pixels.data())),
               NetworkBound(Precision::kFp32));
}

TEST("network: ranges are the CPU's business") {
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const auto network = MakeNetwork(reference, Precision::kFp32, 1);
  std::vector<float> out(reference.shape().total_channels());
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 1);
  ExpectEqual(CodeOf([&] {
                network->Run({pixels.data(), 1}, {Output::kRanges, 0, out.data()}, Never,
                             [](const std::exception_ptr&) {});
              }),
              "ERR_PRECISION_UNSUPPORTED");
}

// More than two of the pieces that pixels are uploaded in.
TEST("network: large images") {
  NetworkShape shape = MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone);
  shape.blocks = {{3, 4, 2, 1, false, 0}};
  shape.height = 1200;
  shape.width = 1300;
  const Reference reference(shape);
  const std::vector<uint8_t> pixels = RandomImages(shape, 2);
  const auto network = MakeNetwork(reference, Precision::kFp32, 2);
  CheckLogits(reference, pixels, RunNetwork(*network, pixels), NetworkBound(Precision::kFp32));
}

// While the results of the first run are being handed over, two more are started; nothing waits for them.
TEST("network: consecutive runs overlap") {
  const RestoreRuntime restore;
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const size_t classes = reference.shape().num_classes;
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 6);
  const size_t image = pixels.size() / 6;
  for (const unsigned eager : {0, 1, 2, 4, 7}) {
    runtime_settings().eager = eager;
    auto network = MakeNetwork(reference, Precision::kFp32, 2);
    std::vector<float> out(6 * classes, NAN);
    std::vector<int> order;
    std::promise<void> go;
    std::future<void> may_go = go.get_future();
    bool waited = true;
    for (int run = 0; run < 3; ++run) {
      network->Run({&pixels[run * 2 * image], 2}, {Output::kLogits, 0, &out[run * 2 * classes]}, Never,
                   [&, run](const std::exception_ptr& error) {
                     if (error) Fail("a run failed");
                     if (run == 0)
                       waited = may_go.wait_for(std::chrono::seconds(30)) == std::future_status::ready;
                     order.push_back(run);
                   });
    }
    go.set_value();
    network.reset();  // Waits for the runs.
    if (!waited) Fail("a run waits for the results of the one before it");
    if (order != std::vector<int>{0, 1, 2}) Fail("runs did not end in their order");
    CheckLogits(reference, pixels, out, NetworkBound(Precision::kFp32));
  }
}

TEST("network: its rate alone, and how each layer runs") {
  const Reference reference(MakeShape(Form::kDeploy, SqueezeExcitePosition::kNone));
  const std::vector<uint8_t> pixels = RandomImages(reference.shape(), 2);
  const auto network = MakeNetwork(reference, Precision::kFp32, 2, ConvolutionAlgorithm::kF2);
  if (!(network->MeasureRate({pixels.data(), 2}, 0.01, Never) > 0)) Fail("no rate");
  ExpectEqual(CodeOf([&] { network->MeasureRate({pixels.data(), 2}, 0.01, [] { return true; }); }), kAborted);
  CheckLogits(reference, pixels, RunNetwork(*network, pixels), NetworkBound(Precision::kFp32));
  for (const char* part :
       {"{\"algorithm\": \"stem\"", "{\"algorithm\": \"f2 ", "\"source\": \"estimated\""}) {
    if (network->Describe().find(part) == std::string::npos) Fail(network->Describe());
  }
}

}  // namespace
}  // namespace repvgg::emulator
