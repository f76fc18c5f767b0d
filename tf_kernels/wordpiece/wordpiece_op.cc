#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status initialize_shapes(InferenceContext* c) {
  ShapeHandle unused;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &unused));
  return c->WithRank(c->input(1), 0, &unused);
}

absl::Status encode_shapes(InferenceContext* c) {
  ShapeHandle texts, pairs;
  bool has_pairs, pad_to_max_length;
  int max_length;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &texts));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 1, &pairs));
  TF_RETURN_IF_ERROR(c->GetAttr("has_pairs", &has_pairs));
  TF_RETURN_IF_ERROR(c->GetAttr("pad_to_max_length", &pad_to_max_length));
  TF_RETURN_IF_ERROR(c->GetAttr("max_length", &max_length));
  if (has_pairs) TF_RETURN_IF_ERROR(c->Merge(texts, pairs, &texts));
  const auto length = pad_to_max_length ? c->MakeDim(max_length) : c->UnknownDim();
  for (int i = 0; i < 3; ++i) c->set_output(i, c->Matrix(c->Dim(texts, 0), length));
  return absl::OkStatus();
}

absl::Status tokenize_shapes(InferenceContext* c) {
  ShapeHandle texts;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &texts));
  tensorflow::shape_inference::DimensionHandle splits;
  TF_RETURN_IF_ERROR(c->Add(c->Dim(texts, 0), 1, &splits));
  const ShapeHandle tokens = c->Vector(c->UnknownDim());
  c->set_output(0, tokens);
  c->set_output(1, c->Vector(splits));
  c->set_output(2, tokens);
  c->set_output(3, tokens);
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasllmWordpieceVocabulary")
    .Output("vocabulary: resource")
    .Attr("container: string = ''")
    .Attr("shared_name: string = ''")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::ScalarShape)
    .Doc(R"doc(
A vocabulary for BERT's tokenisation. It is empty before KerasllmWordpieceInitialize.

vocabulary: A handle; ops of the process with the same shared_name share the vocabulary.
)doc");

REGISTER_OP("KerasllmWordpieceInitialize")
    .Input("vocabulary: resource")
    .Input("content: string")
    .Attr("lowercase: bool = true")
    .Attr("strip_accents: bool = true")
    .Attr("split_cjk: bool = true")
    .Attr("special_tokens_in_text: bool = true")
    .Attr("max_characters_per_word: int >= 1 = 100")
    .Attr("special_tokens: list(string) >= 4")
    .SetIsStateful()
    .SetShapeFn(initialize_shapes)
    .Doc(R"doc(
Fills a vocabulary.

content: A scalar, the content of a vocab.txt: one token a line, its number from 0 being the id.
special_tokens: The unknown, class, separator and padding token, then those only found in texts.
)doc");

REGISTER_OP("KerasllmWordpieceEncode")
    .Input("vocabulary: resource")
    .Input("texts: string")
    .Input("pairs: string")
    .Output("token_ids: int32")
    .Output("segment_ids: int32")
    .Output("padding_mask: bool")
    .Attr("has_pairs: bool = false")
    .Attr("max_length: int >= 0 = 0")
    .Attr("truncation: {'longest_first', 'only_first', 'only_second'} = 'longest_first'")
    .Attr("pad_to_max_length: bool = false")
    .SetIsStateful()
    .SetShapeFn(encode_shapes)
    .Doc(R"doc(
The input of a BERT: [CLS] text [SEP], or [CLS] text [SEP] pair [SEP], padded.

texts: (batch,), UTF-8; what is none counts as U+FFFD, which leaves no token.
pairs: (batch,), or (0,) without has_pairs.
token_ids: (batch, length).
segment_ids: (batch, length), 1 for the second text and its [SEP], else 0.
padding_mask: (batch, length), false where the padding is.
max_length: The longest length with special tokens, 0 for any.
truncation: Which text is cut to max_length.
pad_to_max_length: Whether length is max_length, else that of the longest row.
)doc");

REGISTER_OP("KerasllmWordpieceTokenize")
    .Input("vocabulary: resource")
    .Input("texts: string")
    .Output("token_ids: int32")
    .Output("row_splits: int64")
    .Output("starts: int64")
    .Output("ends: int64")
    .Attr("offset_unit: {'bytes', 'code_points'} = 'bytes'")
    .SetIsStateful()
    .SetShapeFn(tokenize_shapes)
    .Doc(R"doc(
The tokens of texts without special tokens around them, as the parts of ragged tensors.

texts: (batch,), UTF-8; what is none counts as U+FFFD, which leaves no token.
token_ids: (tokens,), those of all texts.
row_splits: (batch + 1,), where in token_ids each text begins and the last one ends.
starts: (tokens,), where each token begins in its text.
ends: (tokens,), where it ends.
)doc");

}  // namespace kerasllm
