#include "cpu/cpu_backend.h"

#include "cpu/bf16_kernels.h"
#include "cpu/bf16_network.h"
#include "cpu/fp32_network.h"
#include "cpu/kernels.h"
#include "cpu/thread_pool.h"
#include "engine/error.h"
#include "engine/usable_cores.h"

namespace repvgg {
namespace {

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const BackendOptions& options)
      : options_(options),
        kernels_(cpu::SelectKernels(options.precision == Precision::kBf16 ? "" : options.instruction_set)),
        pool_(std::make_shared<ThreadPool>(options.threads > 0 ? options.threads : UsableCores())) {}

  std::unique_ptr<Network> CreateNetwork(NetworkShape shape) override {
    if (options_.precision != Precision::kBf16) {
      return std::make_unique<cpu::Fp32Network>(std::move(shape), kernels_, pool_, options_);
    }
    const cpu::Bf16Kernels* bf16 = cpu::SelectBf16Kernels(options_.instruction_set);
    if (bf16 == nullptr) {
      throw Error("ERR_PRECISION_UNSUPPORTED",
                  "This processor has no bf16 instructions (AMX or AVX-512 BF16): use \"fp32\".");
    }
    return std::make_unique<cpu::Bf16Network>(std::move(shape), kernels_, *bf16, pool_, options_);
  }

 private:
  const BackendOptions options_;
  const cpu::KernelTable& kernels_;
  std::shared_ptr<ThreadPool> pool_;
};

}  // namespace

std::unique_ptr<Backend> CreateCpuBackend(const BackendOptions& options) {
  return std::make_unique<CpuBackend>(options);
}

}  // namespace repvgg
