// KerasllmCharacters and the ops of vocabularies on the CPU.
#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/op_kernel.h"
#include "common/text_shares.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_op_kernel.h"
#include "text_encoding/characters.h"
#include "text_encoding/vocabulary.h"

namespace kerasllm {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::tstring;
using text_encoding::Token;
using text_encoding::Vocabulary;

class CharactersOp final : public tensorflow::OpKernel {
 public:
  explicit CharactersOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("keep_words", &options_.keep_words));
    OP_REQUIRES_OK(context, context->GetAttr("keep_blanks", &options_.keep_blanks));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& input = context->input(0);
    OP_REQUIRES_OK(context, expect_rank("KerasllmCharacters", "texts", input, 1, "(n,)"));
    const auto texts = input.vec<tstring>();
    const int64_t num_texts = texts.size();
    Tensor* row_splits_tensor;
    OP_REQUIRES_OK(context, context->allocate_output(1, {num_texts + 1}, &row_splits_tensor));
    const auto row_splits = row_splits_tensor->vec<int64_t>();
    TensorflowParallel parallel(context);
    const auto shares = share_texts(texts, num_texts, parallel.num_threads());
    const auto num_shares = static_cast<int64_t>(shares.size());
    std::vector<std::vector<Token>> tokens(shares.size());
    parallel.for_each(num_shares, [&](int64_t task) {
      text_encoding::CharacterSplitter splitter(options_);
      for (int64_t i = shares[task].begin; i < shares[task].end; ++i) {
        const size_t before = tokens[task].size();
        splitter.split({texts(i).data(), texts(i).size()}, &tokens[task]);
        row_splits(i + 1) = static_cast<int64_t>(tokens[task].size() - before);
      }
    });
    row_splits(0) = 0;
    for (int64_t i = 0; i < num_texts; ++i) row_splits(i + 1) += row_splits(i);
    Tensor *values_tensor, *starts_tensor, *ends_tensor;
    const tensorflow::TensorShape shape({row_splits(num_texts)});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &values_tensor));
    OP_REQUIRES_OK(context, context->allocate_output(2, shape, &starts_tensor));
    OP_REQUIRES_OK(context, context->allocate_output(3, shape, &ends_tensor));
    const auto values = values_tensor->vec<tstring>();
    const auto starts = starts_tensor->vec<int64_t>(), ends = ends_tensor->vec<int64_t>();
    parallel.for_each(num_shares, [&](int64_t task) {
      const Token* token = tokens[task].data();
      for (int64_t i = shares[task].begin; i < shares[task].end; ++i) {
        for (int64_t at = row_splits(i); at < row_splits(i + 1); ++at, ++token) {
          starts(at) = token->begin;
          ends(at) = token->end;
          values(at).assign(texts(i).data() + token->begin,
                            static_cast<size_t>(token->end - token->begin));
        }
      }
    });
  }

 private:
  text_encoding::CharacterOptions options_;
};

// The resource: a vocabulary that comes once and does not change.
class VocabularyResource final : public tensorflow::ResourceBase {
 public:
  std::string DebugString() const override { return "a vocabulary"; }

  std::shared_ptr<const Vocabulary> get() const {
    const tensorflow::tf_shared_lock lock(mutex_);
    return vocabulary_;
  }
  // Later calls find it there: a name is given to one content only.
  absl::Status initialize(std::string_view content) {
    const tensorflow::mutex_lock lock(mutex_);
    if (vocabulary_ != nullptr) return absl::OkStatus();
    std::string problem;
    vocabulary_ = Vocabulary::read(content, &problem);
    if (vocabulary_ != nullptr) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("KerasllmVocabularyInitialize: content is no vocabulary: ", problem));
  }

 private:
  mutable tensorflow::mutex mutex_;
  std::shared_ptr<const Vocabulary> vocabulary_ TF_GUARDED_BY(mutex_);
};

class VocabularyOp final : public tensorflow::ResourceOpKernel<VocabularyResource> {
 public:
  using ResourceOpKernel::ResourceOpKernel;

 private:
  absl::Status CreateResource(VocabularyResource** resource) override {
    *resource = new VocabularyResource;
    return absl::OkStatus();
  }
};

class InitializeOp final : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& content = context->input(1);
    OP_REQUIRES_OK(context, expect_shape("KerasllmVocabularyInitialize", "content", content, {}));
    tensorflow::core::RefCountPtr<VocabularyResource> resource;
    OP_REQUIRES_OK(context, LookupResource(context, HandleFromInput(context, 0), &resource));
    OP_REQUIRES_OK(context, resource->initialize(content.scalar<tstring>()()));
  }
};

class EncodeOp final : public tensorflow::OpKernel {
 public:
  explicit EncodeOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("spell_unknown", &spell_unknown_));
    OP_REQUIRES_OK(context, context->GetAttr("max_length", &max_length_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &tokens_tensor = context->input(1), &splits_tensor = context->input(2);
    OP_REQUIRES_OK(context, expect_rank(kOp, "tokens", tokens_tensor, 1, "(m,)"));
    OP_REQUIRES_OK(context, expect_rank(kOp, "row_splits", splits_tensor, 1, "(batch + 1,)"));
    const auto tokens = tokens_tensor.vec<tstring>();
    const auto row_splits = splits_tensor.vec<int64_t>();
    OP_REQUIRES_OK(context, check_splits(row_splits, tokens.size()));
    tensorflow::core::RefCountPtr<VocabularyResource> resource;
    OP_REQUIRES_OK(context, LookupResource(context, HandleFromInput(context, 0), &resource));
    const auto vocabulary = resource->get();
    OP_REQUIRES(context, vocabulary != nullptr,
                absl::FailedPreconditionError(absl::StrCat(
                    kOp, ": the vocabulary is empty, expected one that was initialized")));

    const int64_t num_texts = row_splits.size() - 1;
    std::vector<int32_t> ids;
    std::vector<size_t> ends(static_cast<size_t>(num_texts));
    const size_t limit = max_length_ > 0 ? static_cast<size_t>(max_length_) : SIZE_MAX;
    size_t longest = 1;
    for (int64_t i = 0; i < num_texts; ++i) {
      const size_t begin = ids.size();
      for (int64_t at = row_splits(i); at < row_splits(i + 1); ++at) {
        if (ids.size() - begin >= limit) break;
        vocabulary->append_ids({tokens(at).data(), tokens(at).size()}, spell_unknown_, &ids);
      }
      if (ids.size() == begin) ids.push_back(Vocabulary::kUnknownId);
      if (ids.size() - begin > limit) ids.resize(begin + limit);
      ends[i] = ids.size();
      longest = std::max(longest, ids.size() - begin);
    }
    Tensor* output;
    OP_REQUIRES_OK(
        context, context->allocate_output(0, {num_texts, static_cast<int64_t>(longest)}, &output));
    int32_t* to = output->flat<int32_t>().data();
    size_t begin = 0;
    for (const size_t end : ends) {
      int32_t* const rest = std::copy(ids.data() + begin, ids.data() + end, to);
      to += longest;
      std::fill(rest, to, Vocabulary::kPadId);
      begin = end;
    }
  }

 private:
  static constexpr const char* kOp = "KerasllmVocabularyEncode";

  template <class Splits>
  static absl::Status check_splits(const Splits& splits, int64_t num_tokens) {
    bool rising = splits.size() >= 1 && splits(0) == 0;
    for (int64_t i = 1; rising && i < splits.size(); ++i) rising = splits(i) >= splits(i - 1);
    if (rising && splits(splits.size() - 1) == num_tokens) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(kOp, ": row_splits do not rise from 0 to ",
                                                   num_tokens, ", the number of tokens"));
  }

  bool spell_unknown_;
  int64_t max_length_;
};

REGISTER_KERNEL_BUILDER(Name("KerasllmCharacters").Device(tensorflow::DEVICE_CPU), CharactersOp);
REGISTER_KERNEL_BUILDER(Name("KerasllmVocabulary").Device(tensorflow::DEVICE_CPU), VocabularyOp);
REGISTER_KERNEL_BUILDER(Name("KerasllmVocabularyInitialize").Device(tensorflow::DEVICE_CPU),
                        InitializeOp);
REGISTER_KERNEL_BUILDER(Name("KerasllmVocabularyEncode").Device(tensorflow::DEVICE_CPU), EncodeOp);

}  // namespace
}  // namespace kerasllm
