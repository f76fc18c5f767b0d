// The shapes of the embedding ops' inputs, checked against each other: for eager calls, graphs and
// XLA alike.
#ifndef KERASLLM_EMBEDDING_EMBEDDING_SHAPES_H_
#define KERASLLM_EMBEDDING_EMBEDDING_SHAPES_H_

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "embedding/embedding.h"
#include "tensorflow/core/framework/tensor_shape.h"

namespace kerasllm {

// What both ops begin with, in the order of their inputs.
struct EmbeddingShapes {
  tensorflow::TensorShape token_ids, token_embeddings, position_embeddings, segment_ids,
      segment_embeddings, start;

  bool has_positions() const { return position_embeddings.dim_size(0) > 0; }
  bool has_segments() const { return segment_embeddings.dim_size(0) > 0; }

  // (batch, time, dim).
  tensorflow::TensorShape outputs() const {
    tensorflow::TensorShape shape = token_ids;
    shape.AddDim(token_embeddings.dim_size(1));
    return shape;
  }
};

inline absl::Status check_embedding_shapes(const char* op, const EmbeddingShapes& shapes) {
  const auto wrong = [op](const char* name, const tensorflow::TensorShape& shape,
                          const std::string& expected) {
    return absl::InvalidArgumentError(
        absl::StrCat(op, ": ", name, " has shape ", shape.DebugString(), ", expected ", expected));
  };
  if (shapes.token_ids.dims() != 2) return wrong("token_ids", shapes.token_ids, "(batch, time)");
  if (shapes.token_embeddings.dims() != 2) {
    return wrong("token_embeddings", shapes.token_embeddings, "(vocabulary, dim)");
  }
  // A table of (0, 0) is one that is not there.
  const int64_t dim = shapes.token_embeddings.dim_size(1);
  const auto fits = [dim](const tensorflow::TensorShape& table) {
    return table.dims() == 2 && (table.dim_size(1) == dim || table.num_elements() == 0);
  };
  if (!fits(shapes.position_embeddings)) {
    return wrong("position_embeddings", shapes.position_embeddings,
                 absl::StrCat("(max_length, ", dim, ")"));
  }
  if (!fits(shapes.segment_embeddings)) {
    return wrong("segment_embeddings", shapes.segment_embeddings,
                 absl::StrCat("(num_segments, ", dim, ")"));
  }
  if (shapes.has_segments() && shapes.segment_ids != shapes.token_ids) {
    return wrong("segment_ids", shapes.segment_ids,
                 absl::StrCat(shapes.token_ids.DebugString(), ", that of token_ids"));
  }
  if (shapes.start.dims() != 0) return wrong("start", shapes.start, "a scalar");
  return absl::OkStatus();
}

inline EmbeddingLookup make_embedding_lookup(const EmbeddingShapes& shapes,
                                             const int32_t* token_ids, const int32_t* segment_ids,
                                             int32_t start) {
  return {shapes.token_ids.dim_size(0),
          shapes.token_ids.dim_size(1),
          shapes.token_embeddings.dim_size(1),
          shapes.token_embeddings.dim_size(0),
          shapes.position_embeddings.dim_size(0),
          shapes.segment_embeddings.dim_size(0),
          start,
          token_ids,
          shapes.has_segments() ? segment_ids : nullptr};
}

}  // namespace kerasllm

#endif  // KERASLLM_EMBEDDING_EMBEDDING_SHAPES_H_
