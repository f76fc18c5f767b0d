// KerasllmJiebaDictionary, KerasllmJiebaDictionaryInitialize and KerasllmJiebaCut on the CPU.
#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/op_kernel.h"
#include "jieba/jieba.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/platform/env.h"

namespace kerasllm {
namespace {

using jieba::Dictionary;
using jieba::Piece;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::tstring;

class DictionaryResource : public tensorflow::ResourceBase {
 public:
  explicit DictionaryResource(std::shared_ptr<const Dictionary> dictionary)
      : dictionary_(std::move(dictionary)) {}
  const Dictionary& dictionary() const { return *dictionary_; }
  std::string DebugString() const override { return "jieba's dictionary"; }
  int64_t MemoryUsed() const override { return dictionary_->size_bytes(); }

 private:
  const std::shared_ptr<const Dictionary> dictionary_;
};

// The dictionary in use that has the same content, or this one: models that are loaded side by side
// have names of their own for their resources.
std::shared_ptr<const Dictionary> the_only(std::shared_ptr<const Dictionary> dictionary,
                                           const std::string& header) {
  static std::mutex mutex;
  static auto& in_use = *new std::map<std::string, std::weak_ptr<const Dictionary>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::weak_ptr<const Dictionary>& known = in_use[header];
  if (const auto found = known.lock()) return found;
  known = dictionary;
  return dictionary;
}

class InitializeOp : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& path = context->input(1);
    OP_REQUIRES_OK(context, expect_shape("KerasllmJiebaDictionaryInitialize", "model_file", path,
                                         TensorShape({})));
    tensorflow::core::RefCountPtr<DictionaryResource> resource;
    OP_REQUIRES_OK(context, tensorflow::LookupOrCreateResource<DictionaryResource>(
                                context, tensorflow::HandleFromInput(context, 0), &resource,
                                [&](DictionaryResource** made) {
                                  return read(context->env(), path.scalar<tstring>()(), made);
                                }));
  }

 private:
  static absl::Status read(tensorflow::Env* env, const std::string& path,
                           DictionaryResource** made) {
    std::string content, problem;
    TF_RETURN_IF_ERROR(tensorflow::ReadFileToString(env, path, &content));
    std::shared_ptr<const Dictionary> dictionary = Dictionary::deserialize(content, &problem);
    if (dictionary == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("KerasllmJiebaDictionaryInitialize: ", path, " cannot be used: ", problem));
    }
    *made = new DictionaryResource(
        the_only(std::move(dictionary), content.substr(0, Dictionary::kHeaderBytes)));
    return absl::OkStatus();
  }
};

class CutOp : public tensorflow::OpKernel {
 public:
  explicit CutOp(OpKernelConstruction* context) : OpKernel(context) {
    std::string mode;
    OP_REQUIRES_OK(context, context->GetAttr("mode", &mode));
    OP_REQUIRES_OK(context, context->GetAttr("hmm", &options_.hmm));
    OP_REQUIRES_OK(context, context->GetAttr("keep_blanks", &options_.keep_blanks));
    OP_REQUIRES_OK(context, context->GetAttr("longest_run", &options_.longest_run));
    options_.mode = mode == "all"      ? jieba::Mode::kAll
                    : mode == "search" ? jieba::Mode::kSearch
                                       : jieba::Mode::kCut;
  }

  void Compute(OpKernelContext* context) override {
    tensorflow::core::RefCountPtr<DictionaryResource> resource;
    OP_REQUIRES_OK(context, tensorflow::LookupResource(
                                context, tensorflow::HandleFromInput(context, 0), &resource));
    OP_REQUIRES_OK(context, expect_rank("KerasllmJiebaCut", "texts", context->input(1), 1, "(n,)"));
    const auto texts = context->input(1).vec<tstring>();
    const int64_t num_texts = texts.size();
    int64_t total_bytes = 0;
    for (int64_t i = 0; i < num_texts; ++i) {
      OP_REQUIRES(context, texts(i).size() < kLongestText,
                  absl::InvalidArgumentError(
                      absl::StrCat("KerasllmJiebaCut: texts[", i, "] has ", texts(i).size(),
                                   " bytes, expected less than ", kLongestText)));
      total_bytes += texts(i).size();
    }
    Tensor* row_splits_tensor;
    OP_REQUIRES_OK(context, context->allocate_output(1, {num_texts + 1}, &row_splits_tensor));
    const auto row_splits = row_splits_tensor->vec<int64_t>();

    TensorflowParallel parallel(context);
    std::vector<Share> shares = share_out(texts, total_bytes, 4 * parallel.num_threads());
    const int64_t num_shares = static_cast<int64_t>(shares.size());
    parallel.for_each(num_shares, [&](int64_t task) {
      Share& share = shares[task];
      jieba::Segmenter segmenter(resource->dictionary(), options_);
      share.pieces.reserve(share.size_bytes / 4);
      for (int64_t i = share.begin; i < share.end; ++i) {
        const size_t first = share.pieces.size();
        segmenter.cut_utf8(texts(i).data(), texts(i).size(), &share.pieces);
        row_splits(i + 1) = std::count_if(share.pieces.begin() + first, share.pieces.end(),
                                          [](const Piece& piece) { return !piece.continues; });
      }
    });
    row_splits(0) = 0;
    for (int64_t i = 0; i < num_texts; ++i) row_splits(i + 1) += row_splits(i);

    Tensor *values_tensor, *starts_tensor, *ends_tensor;
    const TensorShape tokens({row_splits(num_texts)});
    OP_REQUIRES_OK(context, context->allocate_output(0, tokens, &values_tensor));
    OP_REQUIRES_OK(context, context->allocate_output(2, tokens, &starts_tensor));
    OP_REQUIRES_OK(context, context->allocate_output(3, tokens, &ends_tensor));
    const auto values = values_tensor->vec<tstring>();
    const auto starts = starts_tensor->vec<int64_t>(), ends = ends_tensor->vec<int64_t>();
    parallel.for_each(num_shares, [&](int64_t task) {
      const Share& share = shares[task];
      auto piece = share.pieces.begin();
      for (int64_t i = share.begin; i < share.end; ++i) {
        const char* const text = texts(i).data();
        for (int64_t token = row_splits(i); token < row_splits(i + 1); ++token) {
          starts(token) = piece->begin;
          ends(token) = piece->end;
          values(token).assign(text + piece->begin, piece->end - piece->begin);
          for (++piece; piece != share.pieces.end() && piece->continues; ++piece) {
            ends(token) = piece->end;
            values(token).append(text + piece->begin, piece->end - piece->begin);
          }
        }
      }
    });
  }

 private:
  static constexpr size_t kLongestText = size_t{1} << 31;
  // Fewer bytes than this are not worth a thread.
  static constexpr int64_t kLeastBytes = 1 << 13;

  // The texts from `begin` up to `end`, and their tokens.
  struct Share {
    int64_t begin, end, size_bytes;
    std::vector<Piece> pieces;
  };

  // Cuts the texts into shares of about the same number of bytes.
  template <class Texts>
  static std::vector<Share> share_out(const Texts& texts, int64_t total_bytes, int64_t most) {
    const int64_t num_texts = texts.size();
    const int64_t enough =
        std::max(total_bytes / std::max<int64_t>(most, 1) + 1, int64_t{kLeastBytes});
    std::vector<Share> shares;
    for (int64_t begin = 0; begin < num_texts;) {
      int64_t end = begin, size_bytes = 0;
      while (end < num_texts && size_bytes < enough) size_bytes += texts(end++).size();
      shares.push_back({begin, end, size_bytes, {}});
      begin = end;
    }
    return shares;
  }

  jieba::Options options_;
};

REGISTER_KERNEL_BUILDER(Name("KerasllmJiebaDictionary").Device(tensorflow::DEVICE_CPU),
                        tensorflow::ResourceHandleOp<DictionaryResource>);
REGISTER_KERNEL_BUILDER(Name("KerasllmJiebaDictionaryInitialize").Device(tensorflow::DEVICE_CPU),
                        InitializeOp);
REGISTER_KERNEL_BUILDER(Name("KerasllmJiebaCut").Device(tensorflow::DEVICE_CPU), CutOp);

}  // namespace
}  // namespace kerasllm
