#include "binding/image_jobs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "binding/arguments.h"
#include "engine/error.h"
#include "engine/jpeg.h"
#include "engine/read_file.h"

namespace repvgg {
namespace {

constexpr uint8_t kJpegMagic[] = {0xff, 0xd8, 0xff};

struct File {
  // O_NONBLOCK: opening a FIFO would otherwise wait for a writer.
  explicit File(const std::string& path)
      : descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~File() {
    if (descriptor >= 0) close(descriptor);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const int descriptor;
};

// The contents of a JPEG file. Anything else at the path, and any failure, is refused: TypeScript then finds
// out what it is.
std::vector<uint8_t> ReadJpegFile(const std::string& path, off_t most_bytes) {
  // open() would stop at an embedded NUL, and so open another file.
  if (path.find('\0') != std::string::npos) throw JpegRefused();
  const File file(path);
  constexpr size_t kHead = sizeof kJpegMagic;
  struct stat status;
  if (file.descriptor < 0 || fstat(file.descriptor, &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_size < off_t{kHead} || status.st_size > most_bytes) {
    throw JpegRefused();
  }
  // The signature first: files of other formats need not be read.
  uint8_t head[kHead];
  if (!ReadFully(file.descriptor, 0, head, kHead) || std::memcmp(head, kJpegMagic, kHead) != 0)
    throw JpegRefused();
  std::vector<uint8_t> bytes(status.st_size);
  if (!ReadFully(file.descriptor, 0, bytes.data(), bytes.size())) throw JpegRefused();
  return bytes;
}

// A file's path, or a copy of the caller's bytes, which the caller may change or transfer at any time.
struct JpegSource {
  JpegSource(const Napi::Value& value, const Napi::Value& most_bytes)
      : most_bytes(most_bytes.As<Napi::Number>().Int64Value()) {
    if (value.IsString()) {
      path = value.As<Napi::String>().Utf8Value();
    } else {
      const auto array = value.As<Napi::Uint8Array>();
      bytes.assign(array.Data(), array.Data() + array.ByteLength());
    }
  }

  void Load() {
    if (!path.empty()) bytes = ReadJpegFile(path, most_bytes);
  }

  std::string path;
  std::vector<uint8_t> bytes;
  const off_t most_bytes;
};

// Stops decoding when the environment is torn down.
class InterruptibleReader final : public JpegReader {
 public:
  InterruptibleReader(const JpegSource& source, bool orient, const Executor& images)
      : JpegReader(source.bytes.data(), source.bytes.size(), orient), images_(images) {}

  const uint8_t* Next() override {
    if (images_.stopping()) throw Error(kAborted, "The environment is closing.");
    return JpegReader::Next();
  }

 private:
  const Executor& images_;
};

}  // namespace

// resizeCrop(pixels, width, height, geometry, out, offset): Promise<void>
Napi::Value ResizeCropJob(const Napi::CallbackInfo& info, Executor& images) {
  auto job = std::make_unique<Executor::Job>(info.Env());
  const auto pixels = info[0].As<Napi::Uint8Array>();
  auto out = info[4].As<Napi::Uint8Array>();
  job->Keep(pixels);
  job->Keep(out);
  job->SetWork([from = pixels.Data(), width = ToInt(info[1]), height = ToInt(info[2]),
                geometry = ToGeometry(info[3].As<Napi::Object>()),
                to = out.Data() + info[5].As<Napi::Number>().Int64Value()] {
    ResizeCrop(from, width, height, geometry, to);
  });
  return images.Post(info.Env(), std::move(job));
}

// prepareJpeg(source, orient, geometry, out, offset, mostBytes): Promise<boolean>
Napi::Value PrepareJpegJob(const Napi::CallbackInfo& info, Executor& images) {
  auto job = std::make_unique<Executor::Job>(info.Env());
  auto out = info[3].As<Napi::Uint8Array>();
  job->Keep(out);
  auto done = std::make_shared<bool>(false);
  job->SetWork([&images, done, source = std::make_shared<JpegSource>(info[0], info[5]),
                orient = info[1].ToBoolean().Value(), geometry = ToGeometry(info[2].As<Napi::Object>()),
                to = out.Data() + info[4].As<Napi::Number>().Int64Value()] {
    try {
      source->Load();
      InterruptibleReader reader(*source, orient, images);
      ResizeCrop(reader.width(), reader.height(), geometry, reader, to);
      reader.Finish();
      *done = true;
    } catch (const JpegRefused&) {
    }
  });
  job->result = [done](Napi::Env env, Executor::Job&) { return Napi::Boolean::New(env, *done); };
  return images.Post(info.Env(), std::move(job));
}

// decodeJpeg(source, orient, mostBytes): Promise<{data, width, height} | null>
Napi::Value DecodeJpegJob(const Napi::CallbackInfo& info, Executor& images) {
  struct Image {
    std::vector<uint8_t> pixels;
    int width = 0;
    int height = 0;
  };
  auto job = std::make_unique<Executor::Job>(info.Env());
  auto image = std::make_shared<Image>();
  job->SetWork([&images, image, source = std::make_shared<JpegSource>(info[0], info[2]),
                orient = info[1].ToBoolean().Value()] {
    try {
      source->Load();
      InterruptibleReader reader(*source, orient, images);
      const size_t length = size_t{3} * reader.width();
      std::vector<uint8_t> pixels(length * reader.height());
      reader.Select({0, 0, reader.width(), reader.height()});
      for (int y = 0; y < reader.height(); ++y) std::memcpy(&pixels[y * length], reader.Next(), length);
      reader.Finish();
      *image = {std::move(pixels), reader.width(), reader.height()};
    } catch (const JpegRefused&) {
    }
  });
  job->result = [image](Napi::Env env, Executor::Job&) -> Napi::Value {
    if (image->width == 0) return env.Null();
    auto data = NewArray(env, "Uint8Array", image->pixels.size()).As<Napi::Uint8Array>();
    std::memcpy(data.Data(), image->pixels.data(), image->pixels.size());
    auto result = Napi::Object::New(env);
    result.Set("data", data);
    result.Set("width", image->width);
    result.Set("height", image->height);
    return result;
  };
  return images.Post(info.Env(), std::move(job));
}

}  // namespace repvgg
