#include "cpu/cpu_backend.h"

#include "cpu/cpu_network.h"
#include "cpu/kernels.h"
#include "cpu/thread_pool.h"

namespace repvgg {
namespace {

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const BackendOptions& options)
      : kernels_(cpu::SelectKernels(options.instruction_set)),
        pool_(std::make_shared<ThreadPool>(options.threads > 0 ? options.threads : UsableCores())),
        options_(options) {}

  std::unique_ptr<Network> CreateNetwork(NetworkShape shape) override {
    return std::make_unique<cpu::CpuNetwork>(std::move(shape), kernels_, pool_, options_);
  }

 private:
  const cpu::KernelTable& kernels_;
  std::shared_ptr<ThreadPool> pool_;
  const BackendOptions options_;
};

}  // namespace

std::unique_ptr<Backend> CreateCpuBackend(const BackendOptions& options) {
  return std::make_unique<CpuBackend>(options);
}

}  // namespace repvgg
