// The WordPiece ops on the CPU.
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_op_kernel.h"
#include "wordpiece/wordpiece.h"
#include "wordpiece/wordpiece_batch.h"

namespace kerasllm {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::tstring;

// The resource: a model that comes once and does not change.
class WordpieceVocabulary final : public tensorflow::ResourceBase {
 public:
  std::string DebugString() const override { return "a WordPiece vocabulary"; }

  std::shared_ptr<const Wordpiece> model() const {
    const tensorflow::tf_shared_lock lock(mutex_);
    return model_;
  }
  // Later calls find it there: a name is given to one content and one set of options only.
  absl::Status initialize(std::string_view content, const WordpieceOptions& options) {
    const tensorflow::mutex_lock lock(mutex_);
    if (model_ != nullptr) return absl::OkStatus();
    std::string error;
    model_ = Wordpiece::create(content, options, &error);
    if (model_ != nullptr) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("KerasllmWordpieceInitialize: ", error));
  }

 private:
  mutable tensorflow::mutex mutex_;
  std::shared_ptr<const Wordpiece> model_ TF_GUARDED_BY(mutex_);
};

class VocabularyOp final : public tensorflow::ResourceOpKernel<WordpieceVocabulary> {
 public:
  using ResourceOpKernel::ResourceOpKernel;

 private:
  absl::Status CreateResource(WordpieceVocabulary** resource) override {
    *resource = new WordpieceVocabulary;
    return absl::OkStatus();
  }
};

class InitializeOp final : public tensorflow::OpKernel {
 public:
  explicit InitializeOp(OpKernelConstruction* context) : OpKernel(context) {
    std::vector<std::string> special;
    OP_REQUIRES_OK(context, context->GetAttr("lowercase", &options_.lowercase));
    OP_REQUIRES_OK(context, context->GetAttr("strip_accents", &options_.strip_accents));
    OP_REQUIRES_OK(context, context->GetAttr("split_cjk", &options_.split_cjk));
    OP_REQUIRES_OK(context,
                   context->GetAttr("special_tokens_in_text", &options_.special_tokens_in_text));
    OP_REQUIRES_OK(context,
                   context->GetAttr("max_characters_per_word", &options_.max_characters_per_word));
    OP_REQUIRES_OK(context, context->GetAttr("special_tokens", &special));
    options_.unknown_token = special[0];
    options_.class_token = special[1];
    options_.separator_token = special[2];
    options_.padding_token = special[3];
    options_.more_special_tokens.assign(special.begin() + 4, special.end());
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& content = context->input(1);
    OP_REQUIRES_OK(context, expect_shape("KerasllmWordpieceInitialize", "content", content, {}));
    tensorflow::core::RefCountPtr<WordpieceVocabulary> vocabulary;
    OP_REQUIRES_OK(context, LookupResource(context, HandleFromInput(context, 0), &vocabulary));
    OP_REQUIRES_OK(context, vocabulary->initialize(content.scalar<tstring>()(), options_));
  }

 private:
  WordpieceOptions options_;
};

absl::Status find_model(OpKernelContext* context, const char* op,
                        std::shared_ptr<const Wordpiece>* model) {
  tensorflow::core::RefCountPtr<WordpieceVocabulary> vocabulary;
  TF_RETURN_IF_ERROR(LookupResource(context, HandleFromInput(context, 0), &vocabulary));
  *model = vocabulary->model();
  if (*model != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(op, ": the vocabulary is empty, expected one that was initialized"));
}

std::vector<std::string_view> views(const Tensor& texts) {
  const auto flat = texts.flat<tstring>();
  std::vector<std::string_view> result;
  result.reserve(static_cast<size_t>(flat.size()));
  for (int64_t i = 0; i < flat.size(); ++i) result.emplace_back(flat(i).data(), flat(i).size());
  return result;
}

class EncodeOp final : public tensorflow::OpKernel {
 public:
  explicit EncodeOp(OpKernelConstruction* context) : OpKernel(context) {
    std::string truncation;
    OP_REQUIRES_OK(context, context->GetAttr("has_pairs", &options_.has_pairs));
    OP_REQUIRES_OK(context, context->GetAttr("max_length", &options_.max_length));
    OP_REQUIRES_OK(context, context->GetAttr("truncation", &truncation));
    OP_REQUIRES_OK(context, context->GetAttr("pad_to_max_length", &options_.pad_to_max_length));
    options_.truncation = truncation == "only_first"    ? Truncation::kOnlyFirst
                          : truncation == "only_second" ? Truncation::kOnlySecond
                                                        : Truncation::kLongestFirst;
  }

  void Compute(OpKernelContext* context) override {
    constexpr const char* kOp = "KerasllmWordpieceEncode";
    const Tensor &texts = context->input(1), &pairs = context->input(2);
    OP_REQUIRES_OK(context, expect_rank(kOp, "texts", texts, 1, "(batch,)"));
    const TensorShape pair_shape = options_.has_pairs ? texts.shape() : TensorShape({0});
    OP_REQUIRES_OK(context, expect_shape(kOp, "pairs", pairs, pair_shape));
    std::shared_ptr<const Wordpiece> model;
    OP_REQUIRES_OK(context, find_model(context, kOp, &model));
    TensorflowParallel parallel(context);
    const auto first = views(texts), second = views(pairs);
    const EncodedBatch batch(*model, first.data(), second.data(),
                             static_cast<int64_t>(first.size()), options_, parallel);
    OP_REQUIRES(context, batch.error().empty(),
                absl::InvalidArgumentError(absl::StrCat(kOp, ": ", batch.error())));
    const TensorShape shape({texts.dim_size(0), batch.length()});
    Tensor *token_ids, *segment_ids, *padding_mask;
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &token_ids));
    OP_REQUIRES_OK(context, context->allocate_output(1, shape, &segment_ids));
    OP_REQUIRES_OK(context, context->allocate_output(2, shape, &padding_mask));
    batch.write(token_ids->flat<int32_t>().data(), segment_ids->flat<int32_t>().data(),
                padding_mask->flat<bool>().data(), parallel);
  }

 private:
  EncodingOptions options_;
};

class TokenizeOp final : public tensorflow::OpKernel {
 public:
  explicit TokenizeOp(OpKernelConstruction* context) : OpKernel(context) {
    std::string unit;
    OP_REQUIRES_OK(context, context->GetAttr("offset_unit", &unit));
    unit_ = unit == "bytes" ? OffsetUnit::kBytes : OffsetUnit::kCodePoints;
  }

  void Compute(OpKernelContext* context) override {
    constexpr const char* kOp = "KerasllmWordpieceTokenize";
    const Tensor& texts = context->input(1);
    OP_REQUIRES_OK(context, expect_rank(kOp, "texts", texts, 1, "(batch,)"));
    std::shared_ptr<const Wordpiece> model;
    OP_REQUIRES_OK(context, find_model(context, kOp, &model));
    TensorflowParallel parallel(context);
    const auto all = views(texts);
    const WordpieceBatch batch(*model, all.data(), static_cast<int64_t>(all.size()), INT64_MAX,
                               unit_, parallel);
    const TensorShape shape({batch.num_tokens()});
    Tensor *token_ids, *row_splits, *starts, *ends;
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &token_ids));
    OP_REQUIRES_OK(context, context->allocate_output(1, {texts.dim_size(0) + 1}, &row_splits));
    OP_REQUIRES_OK(context, context->allocate_output(2, shape, &starts));
    OP_REQUIRES_OK(context, context->allocate_output(3, shape, &ends));
    batch.copy(token_ids->flat<int32_t>().data(), row_splits->flat<int64_t>().data(),
               starts->flat<int64_t>().data(), ends->flat<int64_t>().data());
  }

 private:
  OffsetUnit unit_;
};

#define KERASLLM_REGISTER(name, kernel) \
  REGISTER_KERNEL_BUILDER(Name(name).Device(tensorflow::DEVICE_CPU), kernel)

KERASLLM_REGISTER("KerasllmWordpieceVocabulary", VocabularyOp);
KERASLLM_REGISTER("KerasllmWordpieceInitialize", InitializeOp);
KERASLLM_REGISTER("KerasllmWordpieceEncode", EncodeOp);
KERASLLM_REGISTER("KerasllmWordpieceTokenize", TokenizeOp);

}  // namespace
}  // namespace kerasllm
