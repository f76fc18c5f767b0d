#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {

REGISTER_OP("KerasllmTextCleaning")
    .Input("texts: string")
    .Output("clean: string")
    .Attr("html: bool = false")
    .Attr("urls: bool = false")
    .Attr("mentions: bool = false")
    .Attr("width: bool = false")
    .Attr("control: bool = false")
    .Attr("mask_emails: bool = false")
    .Attr("mask_identity_cards: bool = false")
    .Attr("mask_bank_cards: bool = false")
    .Attr("mask_phones: bool = false")
    .Attr("repeats: int >= 0 = 0")
    .SetShapeFn(tensorflow::shape_inference::UnchangedShape)
    .Doc(R"doc(
Cleans texts as kerasllm.text.TextCleaner does, whose switches the attributes are.

Bytes that are no UTF-8 become U+FFFD, as in Python's bytes.decode("utf-8", "replace").

texts: Of any shape, UTF-8.
clean: Of the same shape, UTF-8.
repeats: The longest run of one character that is kept; 0 for any.
)doc");

}  // namespace kerasllm
