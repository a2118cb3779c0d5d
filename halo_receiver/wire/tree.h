/* A JSON value as a tree, which messages are read from: made of JSON text, or of attribute keys that it was flattened into.
 *
 * Everything lies in an arena, so that what is found in a tree stays where it is until the arena is emptied.
 * False or NULL: damaged, unusual or too large, and the reference reads it.
 */
#ifndef HALO_TREE_H
#define HALO_TREE_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include "keys.h"
#include "member.h"

#define MAX_TREE_DEPTH 32
#define MAX_NODES 32768   /* of all the trees in an arena */
#define MAX_CHILDREN 64   /* of an object, whose keys are compared with each other */
#define MAX_FLAT_DEPTH 12 /* flattened.MAX_DEPTH */
#define ARENA_BYTES ((size_t)64 << 10)

typedef struct Chunk {
  struct Chunk *before;
  size_t size, room;
  uint64_t data[]; /* aligned for a node */
} Chunk;

typedef struct {
  Chunk *chunk;
  uint32_t nodes;
  Buffer work; /* what is being decoded or written, before it is copied into the arena */
} Arena;

/* The members that are asked for: `get` compares a number instead of a text. */
#define MEMBERS(M)                                                                                                     \
  M(ROLE, "role") M(CONTENT, "content") M(CONTENTS, "contents") M(PARTS, "parts") M(TEXT, "text") M(TYPE, "type")        \
  M(ID, "id") M(NAME, "name") M(MESSAGE, "message") M(MESSAGES, "messages") M(INPUT, "input") M(OUTPUT, "output")        \
  M(OUTPUTS, "outputs") M(CHOICES, "choices") M(CANDIDATES, "candidates") M(GENERATIONS, "generations")                  \
  M(PROMPT, "prompt") M(COMPLETION, "completion") M(SYSTEM, "system") M(SYSTEM_INSTRUCTION, "system_instruction")        \
  M(INSTRUCTIONS, "instructions") M(CONFIG, "config") M(KWARGS, "kwargs") M(DATA, "data")                                \
  M(FINISH_REASON, "finish_reason") M(FINISHREASON, "finishReason") M(STOP_REASON, "stop_reason")                        \
  M(EVENT_NAME, "event.name") M(TOOL_CALLS, "tool_calls") M(TOOLCALLS, "toolCalls") M(TOOL_CALL, "tool_call")            \
  M(FUNCTION_CALL, "function_call") M(FUNCTIONCALL, "functionCall") M(FUNCTION_RESPONSE, "function_response")            \
  M(FUNCTIONRESPONSE, "functionResponse") M(FUNCTION, "function") M(TOOLUSE, "toolUse") M(TOOLRESULT, "toolResult")      \
  M(REASONING_CONTENT, "reasoning_content") M(REASONINGCONTENT, "reasoningContent") M(REASONINGTEXT, "reasoningText")    \
  M(REASONING, "reasoning") M(THINKING, "thinking") M(SUMMARY, "summary") M(REFUSAL, "refusal")                          \
  M(MESSAGE_CONTENT, "message_content") M(JSON, "json") M(TRANSCRIPT, "transcript") M(RESULT, "result")                  \
  M(RESPONSE, "response") M(ERROR, "error") M(VALUE, "value") M(ARGUMENTS, "arguments") M(ARGS, "args")                  \
  M(CALL_ID, "call_id") M(TOOLCALLID, "toolCallId") M(TOOLUSEID, "toolUseId") M(TOOL_CALL_ID, "tool_call_id")            \
  M(TOOL_USE_ID, "tool_use_id") M(TOOLNAME, "toolName") M(TOOL_NAME, "tool_name") M(IMAGES, "images")                    \
  M(AUDIO, "audio") M(FILES, "files") M(ATTACHMENTS, "attachments") M(MEDIA, "media") M(INLINEDATA, "inlineData")        \
  M(INLINE_DATA, "inline_data") M(FILEDATA, "fileData") M(FILE_DATA, "file_data") M(IMAGE, "image") M(VIDEO, "video")    \
  M(DOCUMENT, "document") M(FILE, "file") M(BLOB, "blob") M(SOURCE, "source") M(MIME_TYPE, "mime_type")                  \
  M(MIMETYPE, "mimeType") M(MEDIATYPE, "mediaType") M(MEDIA_TYPE, "media_type") M(B64_JSON, "b64_json") M(URL, "url")

#define MEMBER_NUMBER(name, text) M_OF_##name,
typedef enum { M_OF_NONE, MEMBERS(MEMBER_NUMBER) MEMBER_NAMES } Member;
#define MEMBER_TEXT(name, text) text,
static const char *const MEMBER_TEXTS[MEMBER_NAMES] = {"", MEMBERS(MEMBER_TEXT)};

#define MEMBER_SLOTS 512
static uint8_t member_slots[MEMBER_SLOTS];

typedef struct Node {
  struct Node *next, *first, *last;
  Slice key, text; /* of a string its characters, of a number its digits */
  uint32_t hash, count;
  uint8_t kind; /* { [ " 0 t f n */
  uint8_t member;
} Node;

static void *arena_take(Arena *a, size_t size) {
  size = (size + 7) & ~(size_t)7;
  if (!a->chunk || a->chunk->room - a->chunk->size < size) {
    size_t room = size > ARENA_BYTES ? size : ARENA_BYTES;
    Chunk *chunk = room > MAX_COLUMN_BYTES ? NULL : malloc(sizeof *chunk + room);
    if (!chunk) return NULL;
    *chunk = (Chunk){a->chunk, 0, room};
    a->chunk = chunk;
  }
  void *place = (uint8_t *)a->chunk->data + a->chunk->size;
  a->chunk->size += size;
  return place;
}

/* Keep one chunk of the usual size at most. */
static void arena_empty(Arena *a) {
  while (a->chunk && (a->chunk->before || a->chunk->room > ARENA_BYTES)) {
    Chunk *before = a->chunk->before;
    free(a->chunk);
    a->chunk = before;
  }
  if (a->chunk) a->chunk->size = 0;
  a->nodes = 0;
  a->work.size = 0;
  if (a->work.room > LARGE) buffer_free(&a->work);
}

static void arena_free(Arena *a) {
  arena_empty(a);
  free(a->chunk);
  buffer_free(&a->work);
  memset(a, 0, sizeof *a);
}

static bool arena_copy(Arena *a, Slice *text) {
  uint8_t *copy = arena_take(a, text->size + 1);
  if (!copy) return false;
  if (text->size) memcpy(copy, text->data, text->size);
  text->data = copy;
  return true;
}

static Slice slice_of(const char *text) { return (Slice){(const uint8_t *)text, strlen(text)}; }

static inline bool is_text(Slice text, const char *word) {
  return strlen(word) == text.size && !memcmp(word, text.data, text.size);
}

static void members_learn(void) {
  for (int i = 1; i < MEMBER_NAMES; i++) {
    uint32_t slot = hash_of((const uint8_t *)MEMBER_TEXTS[i], strlen(MEMBER_TEXTS[i]));
    while (member_slots[slot & (MEMBER_SLOTS - 1)]) slot++;
    member_slots[slot & (MEMBER_SLOTS - 1)] = (uint8_t)i;
  }
}

static Node *node_new(Arena *a, uint8_t kind) {
  Node *node = a->nodes < MAX_NODES ? arena_take(a, sizeof *node) : NULL;
  if (!node) return NULL;
  memset(node, 0, sizeof *node);
  node->kind = kind;
  a->nodes++;
  return node;
}

static void node_name(Node *node, Slice key) {
  node->key = key;
  node->hash = hash_of(key.data, key.size);
  uint32_t slot = node->hash;
  for (uint8_t member; (member = member_slots[slot & (MEMBER_SLOTS - 1)]); slot++) {
    if (!is_text(key, MEMBER_TEXTS[member])) continue;
    node->member = member;
    return;
  }
}

static void node_append(Node *parent, Node *child) {
  *(parent->last ? &parent->last->next : &parent->first) = child;
  parent->last = child;
  parent->count++;
}

/* An object with one member, which is another node. */
static Node *node_around(Arena *a, Member member, const Node *value) {
  Node *object = node_new(a, '{'), *copy = node_new(a, 0);
  if (!object || !copy) return NULL;
  *copy = *value;
  copy->next = NULL;
  copy->key = slice_of(MEMBER_TEXTS[member]);
  copy->member = (uint8_t)member;
  node_append(object, copy);
  return object;
}

static bool same_key(const Node *node, Slice key, uint32_t hash) {
  return node->hash == hash && node->key.size == key.size && !memcmp(node->key.data, key.data, key.size);
}

/* ---- JSON text */

static bool tree_text(Arena *a, Json *j, Slice *text) {
  bool plain;
  if (!json_over_text(j, text, &plain)) return false;
  if (plain) return true;
  Json inner = {text->data, text->data + text->size};
  a->work.size = 0;
  while (inner.at < inner.end) {
    const uint8_t *start = inner.at;
    inner.at = json_run(inner.at, inner.end);
    if (!buffer_add(&a->work, start, (size_t)(inner.at - start))) return false;
    if (inner.at < inner.end && (*inner.at++ != '\\' || !json_escape(&inner, &a->work))) return false;
  }
  *text = (Slice){a->work.data, a->work.size};
  return arena_copy(a, text);
}

static Node *tree_value(Arena *a, Json *j, int depth);

static bool tree_members(Arena *a, Json *j, Node *node, int depth) {
  bool object = node->kind == '{';
  uint8_t end = object ? '}' : ']';
  if (json_take(j, end)) return true;
  do {
    Slice key = {0};
    if (object && (json_next(j) != '"' || !tree_text(a, j, &key) || !json_take(j, ':'))) return false;
    Node *child = tree_value(a, j, depth + 1);
    if (!child) return false;
    if (object) {
      node_name(child, key);
      if (node->count == MAX_CHILDREN) return false;
      for (const Node *other = node->first; other; other = other->next) {
        if (same_key(other, key, child->hash)) return false;
      }
    }
    node_append(node, child);
  } while (json_take(j, ','));
  return json_take(j, end);
}

static Node *tree_value(Arena *a, Json *j, int depth) {
  uint8_t first = json_next(j);
  Node *node = depth <= MAX_TREE_DEPTH ? node_new(a, first) : NULL;
  const uint8_t *start = j->at;
  bool done = false;
  if (!node) return NULL;
  switch (first) {
    case '{': case '[':
      j->at++;
      done = tree_members(a, j, node, depth);
      break;
    case '"': done = tree_text(a, j, &node->text); break;
    case 't': done = json_word(j, "true"); break;
    case 'f': done = json_word(j, "false"); break;
    case 'n': done = json_word(j, "null"); break;
    default:
      node->kind = '0';
      done = json_over_number(j);
      node->text = (Slice){start, (size_t)(j->at - start)};
  }
  return done ? node : NULL;
}

/* The structure that a whole text is. */
static Node *tree_of(Arena *a, Slice text) {
  Json j = {text.data, text.data + text.size};
  Node *node = tree_value(a, &j, 0);
  return node && !json_next(&j) && j.at == j.end ? node : NULL;
}

/* Write a value as orjson does. */
static bool tree_write(const Node *node, Buffer *out) {
  switch (node->kind) {
    case '"': return json_string(out, node->text.data, node->text.size) >= 0;
    case 't': return buffer_add(out, "true", 4);
    case 'f': return buffer_add(out, "false", 5);
    case 'n': return buffer_add(out, "null", 4);
    case '0': {
      Json j = {node->text.data, node->text.data + node->text.size};
      return json_number(&j, out) && j.at == j.end;
    }
  }
  if (!buffer_byte(out, node->kind)) return false;
  for (const Node *child = node->first; child; child = child->next) {
    if (child != node->first && !buffer_byte(out, ',')) return false;
    if (node->kind == '{' &&
        (json_string(out, child->key.data, child->key.size) < 0 || !buffer_byte(out, ':')))
      return false;
    if (!tree_write(child, out)) return false;
  }
  return buffer_byte(out, node->kind == '{' ? '}' : ']');
}

/* ---- attribute keys: as flattened.gather */

static bool all_digits(Slice key) {
  for (size_t i = 0; i < key.size; i++) {
    if (key.data[i] < '0' || key.data[i] > '9') return false;
  }
  return key.size > 0;
}

/* The child of a name, a new object where there is none. NULL: too many, or no memory. */
static Node *flat_child(Arena *a, Node *parent, Slice key) {
  uint32_t hash = hash_of(key.data, key.size);
  if (parent->last && same_key(parent->last, key, hash)) return parent->last;
  for (Node *child = parent->first; child; child = child->next) {
    if (same_key(child, key, hash)) return child;
  }
  Node *child = parent->count < MAX_CHILDREN * 4 ? node_new(a, '{') : NULL;
  if (!child) return NULL;
  node_name(child, key);
  node_append(parent, child);
  return child;
}

/* Put a value where its key says, in place of what is there. */
static bool flat_put(Arena *a, Node *root, Slice path, Slice value) {
  Node *node = root;
  for (int depth = 0;; depth++) {
    const uint8_t *dot = depth < MAX_FLAT_DEPTH && path.size ? memchr(path.data, '.', path.size) : NULL;
    Slice step = {path.data, dot ? (size_t)(dot - path.data) : path.size};
    for (size_t i = 0; i < step.size; i++) {
      if (step.data[i] >= 0x80) return false; /* Python knows more digits */
    }
    if (node->kind != '{') {
      node->kind = '{';
      node->first = node->last = NULL;
      node->count = 0;
    }
    node = flat_child(a, node, step);
    if (!node) return false;
    if (!dot) break;
    path = (Slice){dot + 1, path.size - step.size - 1};
  }
  node->kind = '"';
  node->text = value;
  return true;
}

static bool key_before(const Node *a, const Node *b) {
  if (a->key.size != b->key.size) return a->key.size < b->key.size;
  return memcmp(a->key.data, b->key.data, a->key.size) < 0;
}

/* Sort children by their place; mostly they are. */
static void flat_sort(Node *node) {
  Node *sorted = NULL, *last = NULL, *next;
  for (Node *child = node->first; child; child = next) {
    next = child->next;
    Node **at = last && key_before(last, child) ? &last->next : &sorted;
    while (*at && key_before(*at, child)) at = &(*at)->next;
    child->next = *at;
    *at = child;
    if (!child->next) last = child;
  }
  node->first = sorted;
  node->last = last;
}

/* Objects whose keys are all places become lists. */
static void flat_build(Node *node) {
  bool list = true;
  if (node->kind != '{') return;
  for (Node *child = node->first; child; child = child->next) {
    flat_build(child);
    list = list && all_digits(child->key);
  }
  if (!list) return;
  node->kind = '[';
  flat_sort(node);
}

static bool python_text(PyObject *value, Slice *text) {
  Py_ssize_t size;
  const char *data = PyUnicode_Check(value) ? PyUnicode_AsUTF8AndSize(value, &size) : NULL;
  if (data) *text = (Slice){(const uint8_t *)data, (size_t)size};
  return data != NULL;
}

/* Put an attribute where its key says, if that is below the prefix. */
static bool flat_add(Arena *a, Node *root, Slice prefix, Slice key, Slice text) {
  if (key.size < prefix.size || memcmp(key.data, prefix.data, prefix.size)) return true;
  return flat_put(a, root, (Slice){key.data + prefix.size, key.size - prefix.size}, text);
}

static Node *flat_list(Node *root) {
  if (!root || !root->count) return NULL;
  flat_build(root);
  return root->kind == '[' ? root : NULL;
}

/* The list that lies in the attributes below a prefix; all its values are texts. */
static Node *tree_of_flat(Arena *a, PyObject *attributes, Slice prefix) {
  PyObject *name, *value;
  Py_ssize_t at = 0;
  Node *root = node_new(a, '{');
  Slice key, text;
  while (root && PyDict_Next(attributes, &at, &name, &value)) {
    if (!python_text(name, &key)) return NULL;
    if (key.size < prefix.size || memcmp(key.data, prefix.data, prefix.size)) continue;
    if (!python_text(value, &text) || !flat_add(a, root, prefix, key, text)) return NULL;
  }
  return flat_list(root);
}

static bool add_text_node(Arena *a, Node *root, Slice key, Slice text) {
  Node *child = node_new(a, '"');
  if (!child) return false;
  child->text = text;
  node_name(child, key);
  node_append(root, child);
  return true;
}

/* An object of named texts. */
static Node *tree_of_texts(Arena *a, PyObject *texts) {
  PyObject *name, *value;
  Py_ssize_t at = 0;
  Node *root = node_new(a, '{');
  while (root && PyDict_Next(texts, &at, &name, &value)) {
    Slice key, text;
    if (!python_text(name, &key) || !python_text(value, &text) || !add_text_node(a, root, key, text)) return NULL;
  }
  return root;
}

#endif
