/* Classifies lines of text with a SavedModel and TensorFlow's C API, without Python.
 *
 *     python recipes/chinese_text_classification.py --output-dir runs/demo --export
 *     make classify-lines
 *     build/classify_lines runs/demo/saved_model LIBRARY <new.txt >labels.tsv
 *
 * LIBRARY is libkerasllm_ops.so, whose path `python -m kerasllm.native` prints. The model is one
 * that kerasllm.export.save_text_model wrote. Each line of standard input, in UTF-8, gives a line
 * with its label, a tab and the label's probability; at a terminal it is answered at once.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

enum { kMostLines = 256 };

static TF_Status* status;

static void fail(const char* what, const char* why) {
  fprintf(stderr, "error: %s: %s\n", what, why);
  exit(1);
}

static void check(const char* what) {
  if (TF_GetCode(status) != TF_OK) fail(what, TF_Message(status));
}

/* A part of a message in protocol buffers' wire format. */
typedef struct {
  const unsigned char *at, *end;
} Part;

static uint64_t read_varint(Part* part) {
  uint64_t value = 0;
  for (int shift = 0; part->at < part->end && shift < 64; shift += 7) {
    const unsigned char byte = *part->at++;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  part->at = part->end;
  return 0;
}

/* The next field of that number that has a length, as *found; false at the end of the message. */
static int next_field(Part* message, uint64_t number, Part* found) {
  while (message->at < message->end) {
    const uint64_t tag = read_varint(message);
    const uint64_t kind = tag & 7;
    uint64_t size = kind == 1 ? 8 : kind == 5 ? 4 : 0;
    if (kind == 0) {
      read_varint(message);
    } else if (kind == 2) {
      size = read_varint(message);
    }
    if (size > (uint64_t)(message->end - message->at)) size = message->end - message->at;
    const Part part = {message->at, message->at + size};
    message->at += size;
    if (kind == 2 && tag >> 3 == number) {
      *found = part;
      return 1;
    }
  }
  return 0;
}

/* The value of a key in a map, whose entries are the fields `number` of the message. */
static int find_key(Part message, uint64_t number, const char* key, Part* value) {
  Part entry, found;
  while (next_field(&message, number, &entry)) {
    Part copy = entry;
    if (next_field(&copy, 1, &found) && (size_t)(found.end - found.at) == strlen(key) &&
        memcmp(found.at, key, strlen(key)) == 0) {
      return next_field(&entry, 2, value);
    }
  }
  return 0;
}

/* The tensor behind an input (1) or output (2) of the signature serving_default. */
static TF_Output find_tensor(TF_Graph* graph, const TF_Buffer* meta_graph, int kind,
                             const char* key) {
  const unsigned char* data = meta_graph->data;
  const Part whole = {data, data + meta_graph->length};
  Part signature, tensor, name;
  if (!find_key(whole, 5, "serving_default", &signature) ||
      !find_key(signature, (uint64_t)kind, key, &tensor) || !next_field(&tensor, 1, &name)) {
    fail(key, "the model has no such input or output; expected one of kerasllm's for texts");
  }
  char operation[512];
  snprintf(operation, sizeof(operation), "%.*s", (int)(name.end - name.at), (const char*)name.at);
  char* const colon = strrchr(operation, ':');
  const int index = colon == NULL ? 0 : atoi(colon + 1);
  if (colon != NULL) *colon = 0;
  const TF_Output output = {TF_GraphOperationByName(graph, operation), index};
  if (output.oper == NULL) fail(operation, "the graph has no such operation");
  return output;
}

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s SAVED_MODEL LIBRARY <LINES\n", argv[0]);
    return 2;
  }
  setenv("TF_CPP_MIN_LOG_LEVEL", "2", 0);
  status = TF_NewStatus();
  TF_Library* const library = TF_LoadLibrary(argv[2], status);
  check(argv[2]);
  TF_Graph* const graph = TF_NewGraph();
  TF_SessionOptions* const options = TF_NewSessionOptions();
  TF_Buffer* const meta_graph = TF_NewBuffer();
  const char* const tags[] = {"serve"};
  TF_Session* const session =
      TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, meta_graph, status);
  check(argv[1]);
  const TF_Output texts = find_tensor(graph, meta_graph, 1, "texts");
  const TF_Output outputs[] = {find_tensor(graph, meta_graph, 2, "label"),
                               find_tensor(graph, meta_graph, 2, "probability")};

  char* line = NULL;
  size_t capacity = 0;
  const int most = isatty(STDIN_FILENO) ? 1 : kMostLines;
  for (int more = 1; more;) {
    TF_TString* const batch = calloc((size_t)most, sizeof(TF_TString));
    int64_t count = 0;
    while (count < most) {
      ssize_t size = getline(&line, &capacity, stdin);
      if (size < 0) {
        more = 0;
        break;
      }
      if (size > 0 && line[size - 1] == '\n') --size;
      TF_StringInit(&batch[count]);
      TF_StringCopy(&batch[count++], line, (size_t)size);
    }
    if (count > 0) {
      TF_Tensor* const input =
          TF_AllocateTensor(TF_STRING, &count, 1, (size_t)count * sizeof(TF_TString));
      /* The tensor takes the strings over and frees them. */
      memcpy(TF_TensorData(input), batch, (size_t)count * sizeof(TF_TString));
      TF_Tensor* results[2] = {NULL, NULL};
      TF_SessionRun(session, NULL, &texts, &input, 1, outputs, results, 2, NULL, 0, NULL, status);
      check("classification");
      const TF_TString* const labels = TF_TensorData(results[0]);
      const float* const probabilities = TF_TensorData(results[1]);
      for (int64_t i = 0; i < count; ++i) {
        printf("%.*s\t%.6f\n", (int)TF_StringGetSize(&labels[i]),
               TF_StringGetDataPointer(&labels[i]), probabilities[i]);
      }
      fflush(stdout);
      TF_DeleteTensor(results[0]);
      TF_DeleteTensor(results[1]);
      TF_DeleteTensor(input);
    }
    free(batch);
  }
  free(line);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteGraph(graph);
  TF_DeleteSessionOptions(options);
  TF_DeleteBuffer(meta_graph);
  TF_DeleteLibraryHandle(library);
  TF_DeleteStatus(status);
  return 0;
}
