#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status initialize_shapes(InferenceContext* c) {
  ShapeHandle scalar;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &scalar));
  return c->WithRank(c->input(1), 0, &scalar);
}

absl::Status cut_shapes(InferenceContext* c) {
  ShapeHandle scalar, texts;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &scalar));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &texts));
  tensorflow::shape_inference::DimensionHandle num_splits;
  TF_RETURN_IF_ERROR(c->Add(c->Dim(texts, 0), 1, &num_splits));
  const ShapeHandle tokens = c->Vector(c->UnknownDim());
  c->set_output(0, tokens);
  c->set_output(1, c->Vector(num_splits));
  c->set_output(2, tokens);
  c->set_output(3, tokens);
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasllmJiebaDictionary")
    .Output("dictionary: resource")
    .Attr("container: string = ''")
    .Attr("shared_name: string = ''")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::ScalarShape)
    .Doc(R"doc(
A handle to a dictionary of jieba's, which KerasllmJiebaDictionaryInitialize reads.

dictionary: The handle.
container: The resource container, the default one if empty.
shared_name: Handles of one name are handles to one dictionary; the op's name if empty.
)doc");

REGISTER_OP("KerasllmJiebaDictionaryInitialize")
    .Input("dictionary: resource")
    .Input("model_file: string")
    .SetIsStateful()
    .SetShapeFn(initialize_shapes)
    .Doc(R"doc(
Reads a dictionary from its file. A handle that has one keeps it. Dictionaries of equal content are
in memory once.

dictionary: The handle.
model_file: (), the path of the file, in any of TensorFlow's file systems.
)doc");

REGISTER_OP("KerasllmJiebaCut")
    .Input("dictionary: resource")
    .Input("texts: string")
    .Output("values: string")
    .Output("row_splits: int64")
    .Output("starts: int64")
    .Output("ends: int64")
    .Attr("mode: {'cut', 'all', 'search'} = 'cut'")
    .Attr("hmm: bool = true")
    .Attr("keep_blanks: bool = false")
    .Attr("longest_run: int >= 0 = 0")
    .SetShapeFn(cut_shapes)
    .Doc(R"doc(
Cuts texts into words as jieba 0.42.1 does.

Bytes that are no UTF-8 are characters that no word has, as U+FFFD in Python's
bytes.decode("utf-8", "replace"); the tokens hold the bytes themselves.

dictionary: An initialized handle.
texts: (n,), UTF-8.
values: (m,), the tokens of all texts.
row_splits: (n + 1,), text i has the tokens from row_splits[i] up to row_splits[i + 1].
starts: (m,), where each token begins in its text, in bytes.
ends: (m,), where it ends.
mode: jieba.cut, jieba.cut(cut_all=True) or jieba.cut_for_search.
hmm: Whether a hidden Markov model finds words that the dictionary lacks.
keep_blanks: Whether blank and empty tokens are kept.
longest_run: Where runs of letters, digits and Chinese characters are cut before anything else; 0
  for nowhere.
)doc");

}  // namespace kerasllm
