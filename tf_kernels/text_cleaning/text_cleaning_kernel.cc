// KerasllmTextCleaning on the CPU.
#include "common/op_kernel.h"
#include "common/text_shares.h"
#include "text_cleaning/text_cleaning.h"

namespace kerasllm {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::tstring;

class TextCleaningOp final : public tensorflow::OpKernel {
 public:
  explicit TextCleaningOp(OpKernelConstruction* context) : OpKernel(context) {
    const std::pair<const char*, bool*> switches[] = {
        {"html", &options_.html},
        {"urls", &options_.urls},
        {"mentions", &options_.mentions},
        {"width", &options_.width},
        {"control", &options_.control},
        {"mask_emails", &options_.mask_emails},
        {"mask_identity_cards", &options_.mask_identity_cards},
        {"mask_bank_cards", &options_.mask_bank_cards},
        {"mask_phones", &options_.mask_phones},
    };
    for (const auto& [name, value] : switches) {
      OP_REQUIRES_OK(context, context->GetAttr(name, value));
    }
    OP_REQUIRES_OK(context, context->GetAttr("repeats", &options_.repeats));
  }

  void Compute(OpKernelContext* context) override {
    tensorflow::Tensor* output;
    OP_REQUIRES_OK(context, context->allocate_output(0, context->input(0).shape(), &output));
    const auto texts = context->input(0).flat<tstring>();
    auto clean = output->flat<tstring>();
    TensorflowParallel parallel(context);
    const auto shares = share_texts(texts, texts.size(), parallel.num_threads());
    parallel.for_each(static_cast<int64_t>(shares.size()), [&](int64_t task) {
      text_cleaning::Cleaner cleaner(options_);
      for (int64_t i = shares[task].begin; i < shares[task].end; ++i) {
        const std::string_view result = cleaner.clean({texts(i).data(), texts(i).size()});
        clean(i).assign(result.data(), result.size());
      }
    });
  }

 private:
  text_cleaning::Options options_;
};

REGISTER_KERNEL_BUILDER(Name("KerasllmTextCleaning").Device(tensorflow::DEVICE_CPU),
                        TextCleaningOp);

}  // namespace
}  // namespace kerasllm
