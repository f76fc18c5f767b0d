#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status characters_shapes(InferenceContext* c) {
  ShapeHandle texts;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 1, &texts));
  tensorflow::shape_inference::DimensionHandle num_splits;
  TF_RETURN_IF_ERROR(c->Add(c->Dim(texts, 0), 1, &num_splits));
  const ShapeHandle tokens = c->Vector(c->UnknownDim());
  c->set_output(0, tokens);
  c->set_output(1, c->Vector(num_splits));
  c->set_output(2, tokens);
  c->set_output(3, tokens);
  return absl::OkStatus();
}

absl::Status initialize_shapes(InferenceContext* c) {
  ShapeHandle unused;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &unused));
  return c->WithRank(c->input(1), 0, &unused);
}

absl::Status encode_shapes(InferenceContext* c) {
  ShapeHandle unused, row_splits;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &unused));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &unused));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 1, &row_splits));
  tensorflow::shape_inference::DimensionHandle batch;
  TF_RETURN_IF_ERROR(c->Subtract(c->Dim(row_splits, 0), 1, &batch));
  c->set_output(0, c->Matrix(batch, c->UnknownDim()));
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasllmCharacters")
    .Input("texts: string")
    .Output("values: string")
    .Output("row_splits: int64")
    .Output("starts: int64")
    .Output("ends: int64")
    .Attr("keep_words: bool = false")
    .Attr("keep_blanks: bool = false")
    .SetShapeFn(characters_shapes)
    .Doc(R"doc(
Cuts texts into characters as a reader counts them, as kerasllm.text.CharTokenizer does.

Bytes that are no UTF-8 are characters; the tokens hold the bytes themselves.

texts: (n,), UTF-8.
values: (m,), the tokens of all texts.
row_splits: (n + 1,), text i has the tokens from row_splits[i] up to row_splits[i + 1].
starts: (m,), where each token begins in its text, in bytes.
ends: (m,), where it ends.
keep_words: Whether Latin words and numbers are one token each.
keep_blanks: Whether blanks are tokens.
)doc");

REGISTER_OP("KerasllmVocabulary")
    .Output("vocabulary: resource")
    .Attr("container: string = ''")
    .Attr("shared_name: string = ''")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::ScalarShape)
    .Doc(R"doc(
A vocabulary. It is empty before KerasllmVocabularyInitialize.

vocabulary: A handle; ops of the process with the same shared_name share the vocabulary.
)doc");

REGISTER_OP("KerasllmVocabularyInitialize")
    .Input("vocabulary: resource")
    .Input("content: string")
    .SetIsStateful()
    .SetShapeFn(initialize_shapes)
    .Doc(R"doc(
Fills a vocabulary. One that is full keeps what it has.

content: A scalar, the content of a file that kerasllm.text.Vocabulary.save wrote.
)doc");

REGISTER_OP("KerasllmVocabularyEncode")
    .Input("vocabulary: resource")
    .Input("tokens: string")
    .Input("row_splits: int64")
    .Output("token_ids: int32")
    .Attr("spell_unknown: bool = false")
    .Attr("max_length: int >= 0 = 0")
    .SetIsStateful()
    .SetShapeFn(encode_shapes)
    .Doc(R"doc(
The ids of the tokens of texts, padded with 0 to the longest text of the batch.

A text without any token has the id 1, that of unknown tokens, so that none is empty.

tokens: (m,), those of all texts.
row_splits: (batch + 1,), text i has the tokens from row_splits[i] up to row_splits[i + 1].
token_ids: (batch, length); length is 1 at least.
spell_unknown: Whether a token that the vocabulary lacks is given by its characters.
max_length: Number of ids to which longer texts are cut; 0 for no limit.
)doc");

}  // namespace kerasllm
