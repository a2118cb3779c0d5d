/* Messages of the usual forms → the JSON of the canonical columns, and what else the reference asks of them.
 *
 * OpenAI's chat messages and OpenTelemetry's parts as JSON text, OpenInference's flattened into attribute keys: what
 * conventions/messages.py calls plain. Whatever is unusual in one of them makes the answer None, and the reference reads
 * them all.
 */
#ifndef HALO_MESSAGES_H
#define HALO_MESSAGES_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include "member.h"

#define MAX_PLAIN_MESSAGES 1024
#define MAX_FLAT_MESSAGES 256
#define MAX_FLAT_CALLS 512

typedef enum { R_USER, R_ASSISTANT, R_SYSTEM, R_TOOL, ROLES } Role;
static const char *const ROLE_NAMES[ROLES] = {"user", "assistant", "system", "tool"};

typedef struct {
  Buffer out;     /* the JSON */
  Buffer content; /* what messages say: the parts of one beside each other */
  Buffer other;   /* other strings */
  Buffer calls;   /* JSON of the calls of the message being read */
  Buffer arguments; /* JSON of those of the call being read */
  Buffer said;    /* by the assistant, one after the other */
  Buffer spare;
  Piece asked, user, assistant; /* the last text of: user or tool, user, assistant */
  int messages;
  Role first;
  bool any_said;
  PyObject *reason_of; /* a finish reason → its canonical name, or None */
  PyObject *reason;    /* of the last message; NULL: none */
} Speech;

typedef struct {
  Role role;
  Piece content, identifier, name, reason; /* absent and empty are the same here */
} Message;

static bool add_words(Buffer *out, const char *words) { return buffer_add(out, words, strlen(words)); }

static bool add_string(Buffer *out, Piece piece) {
  Slice bytes = piece_bytes(piece);
  return json_string(out, bytes.data, bytes.size) >= 0;
}

static bool add_string_or_null(Buffer *out, Piece piece) {
  return piece.in ? add_string(out, piece) : add_words(out, "null");
}

static bool begin_message(Speech *s, Role role) {
  if (s->messages == MAX_PLAIN_MESSAGES) return false;
  if (!s->messages++) s->first = role;
  return buffer_byte(&s->out, s->out.size ? ',' : '[') && add_words(&s->out, "{\"role\":\"") &&
         add_words(&s->out, ROLE_NAMES[role]) && add_words(&s->out, "\",\"content\":");
}

static bool end_message(Speech *s, Role role, Piece content) {
  Py_CLEAR(s->reason);
  if (content.size) {
    if (role == R_USER || role == R_TOOL) s->asked = content;
    if (role == R_USER) s->user = content;
    if (role == R_ASSISTANT) {
      Slice bytes = piece_bytes(content);
      s->assistant = content;
      if ((s->any_said && !buffer_byte(&s->said, '\n')) || !buffer_add(&s->said, bytes.data, bytes.size)) return false;
      s->any_said = true;
    }
  }
  return buffer_byte(&s->out, '}');
}

/* A tool's result, which is a message of its own. */
static bool add_result(Speech *s, Piece content, Piece identifier) {
  return begin_message(s, R_TOOL) && add_string(&s->out, content) && add_words(&s->out, ",\"tool_call_id\":") &&
         add_string(&s->out, identifier) && end_message(s, R_TOOL, content);
}

static bool add_call(Speech *s, Piece identifier, Piece name, Slice arguments) {
  return (!s->calls.size || buffer_byte(&s->calls, ',')) && add_words(&s->calls, "{\"id\":") &&
         add_string_or_null(&s->calls, identifier) && add_words(&s->calls, ",\"name\":") &&
         add_string_or_null(&s->calls, name) && add_words(&s->calls, ",\"arguments\":") &&
         (arguments.size ? buffer_add(&s->calls, arguments.data, arguments.size) : add_words(&s->calls, "null")) &&
         buffer_byte(&s->calls, '}');
}

/* The arguments of a call: a text that is the JSON of a structure becomes that, any other text stays one. */
static bool arguments_of(Speech *s, Piece piece) {
  Slice text = piece_bytes(piece);
  Json inner = {text.data, text.data + text.size};
  uint8_t next = json_next(&inner);
  if (next == '{' || next == '[') {
    Buffer copy = s->spare; /* what is read must not move while keys are gathered */
    copy.size = 0;
    bool done = buffer_add(&copy, text.data, text.size);
    inner = (Json){copy.data, copy.data + copy.size};
    done = done && json_copy(&inner, &s->arguments, &s->other, 0) && !json_next(&inner) && inner.at == inner.end;
    s->spare = copy;
    return done;
  }
  /* Python knows more white space than JSON: before a brace it would not count. */
  if (inner.at != text.data || (next && (next < 0x20 || next >= 0x80))) return false;
  return json_string(&s->arguments, text.data, text.size) >= 0;
}

/* Write the message that was gathered, with the calls in `calls`: unless it had `results`, and says nothing else. */
static bool add_message(Speech *s, const Message *m, bool results) {
  bool calls = s->calls.size > 0;
  if (calls && m->role == R_TOOL) return false;
  Role role = calls ? R_ASSISTANT : m->role;
  bool bare = !calls && !m->content.size && !m->name.size && !m->reason.size && !(role == R_TOOL && m->identifier.size);
  if (results && bare) return true;
  if (!begin_message(s, role)) return false;
  if (!(m->content.size ? add_string(&s->out, m->content) : add_words(&s->out, "null"))) return false;
  if (calls && !(add_words(&s->out, ",\"tool_calls\":[") && buffer_add(&s->out, s->calls.data, s->calls.size) &&
                 buffer_byte(&s->out, ']')))
    return false;
  s->calls.size = 0;
  if (role == R_TOOL && m->identifier.size && !(add_words(&s->out, ",\"tool_call_id\":") && add_string(&s->out, m->identifier)))
    return false;
  if (m->name.size && !(add_words(&s->out, ",\"name\":") && add_string(&s->out, m->name))) return false;
  PyObject *reason = NULL;
  if (m->reason.size) {
    Slice bytes = piece_bytes(m->reason);
    reason = PyObject_CallFunction(s->reason_of, "s#", (const char *)bytes.data, (Py_ssize_t)bytes.size);
    Py_ssize_t size = 0;
    const char *text = reason && reason != Py_None ? PyUnicode_AsUTF8AndSize(reason, &size) : NULL;
    bool done = reason && (text || reason == Py_None) && add_words(&s->out, ",\"finish_reason\":") &&
                (text ? json_string(&s->out, (const uint8_t *)text, (size_t)size) >= 0 : add_words(&s->out, "null"));
    if (!done) {
      Py_XDECREF(reason);
      return false;
    }
  }
  if (!end_message(s, role, m->content)) {
    Py_XDECREF(reason);
    return false;
  }
  s->reason = reason;
  return true;
}

static bool role_named(Slice name, Role *role) {
  for (int i = 0; i < ROLES; i++) {
    if (strlen(ROLE_NAMES[i]) != name.size || memcmp(ROLE_NAMES[i], name.data, name.size)) continue;
    *role = (Role)i;
    return true;
  }
  return false;
}

/* ---- JSON text --------------------------------------------------------------------------------------------------- */

/* Read the next key and its colon; which of `names` it is, counted from 0 and not seen before, or -1. */
static int json_key(Json *j, const char *const *names, unsigned *seen) {
  if (!json_take(j, '"')) return -1;
  const uint8_t *start = j->at;
  while (j->at < j->end && *j->at != '"' && *j->at != '\\') j->at++;
  size_t size = (size_t)(j->at - start);
  if (!json_take(j, '"') || !json_take(j, ':')) return -1;
  for (int i = 0; names[i]; i++) {
    if (strlen(names[i]) != size || memcmp(names[i], start, size)) continue;
    if (*seen & 1u << i) return -1;
    *seen |= 1u << i;
    return i;
  }
  return -1;
}

static bool json_null(Json *j) { return json_next(j) == 'n' && json_word(j, "null"); }

static bool text_or_null(Json *j, Buffer *to, Piece *piece) {
  *piece = (Piece){NULL, 0, 0};
  return json_next(j) == 'n' ? json_null(j) : json_text(j, to, piece);
}

/* A result that is an object becomes the text of its JSON. */
static bool read_response(Speech *s, Json *j, Piece *response) {
  Buffer *json = &s->arguments;
  json->size = 0;
  if (!json_copy(j, json, &s->other, 0)) return false;
  if (json->size > 9 && (!memcmp(json->data, "{\"type\":", 8) || !memcmp(json->data, "{\"value\":", 9))) return false;
  *response = (Piece){&s->other, s->other.size, json->size};
  return buffer_add(&s->other, json->data, json->size);
}

/* One of a message's parts: a text, a call, or the result of one. */
static bool read_part(Speech *s, Json *j, Piece *content, bool *results) {
  static const char *const names[] = {"type", "content", "text", "id", "name", "arguments", "response", NULL};
  enum { TYPE, CONTENT, TEXT, ID, NAME, ARGUMENTS, RESPONSE };
  Piece type = {0}, text = {0}, id = {0}, name = {0}, response = {0}, sent;
  unsigned seen = 0;
  s->arguments.size = 0;
  if (!json_take(j, '{')) return false;
  do {
    bool done = false;
    switch (json_key(j, names, &seen)) {
      case TYPE: done = json_text(j, &s->other, &type); break;
      case CONTENT: case TEXT: done = !text.in && json_text(j, &s->other, &text); break;
      case ID: done = json_text(j, &s->other, &id); break;
      case NAME: done = json_text(j, &s->other, &name); break;
      case ARGUMENTS:
        done = json_next(j) == '"' ? json_text(j, &s->other, &sent) && arguments_of(s, sent)
                                   : json_next(j) == '{' && json_copy(j, &s->arguments, &s->other, 0);
        break;
      case RESPONSE: done = json_next(j) == '{' ? read_response(s, j, &response) : json_text(j, &s->other, &response); break;
    }
    if (!done) return false;
  } while (json_take(j, ','));
  if (!json_take(j, '}')) return false;
  Slice kind = piece_bytes(type);
  unsigned rest = seen & ~(1u << TYPE);
  if ((!type.in && seen == 1u << TEXT) || (kind.size == 4 && !memcmp(kind.data, "text", 4))) {
    if (rest != 1u << CONTENT && rest != 1u << TEXT) return false;
    if (!text.size) return true;
    if (!content->in) *content = (Piece){&s->content, s->content.size, 0};
    size_t before = s->content.size;
    Slice bytes = piece_bytes(text);
    if ((content->size && !buffer_byte(&s->content, '\n')) || !buffer_add(&s->content, bytes.data, bytes.size)) return false;
    content->size += s->content.size - before;
    return true;
  }
  if (kind.size == 9 && !memcmp(kind.data, "tool_call", 9)) {
    if (rest != (1u << ID | 1u << NAME | 1u << ARGUMENTS) || !name.size) return false;
    return add_call(s, id, name, (Slice){s->arguments.data, s->arguments.size});
  }
  if (kind.size == 18 && !memcmp(kind.data, "tool_call_response", 18)) {
    *results = true;
    return rest == (1u << ID | 1u << RESPONSE) && id.size && add_result(s, response, id);
  }
  return false;
}

/* What a message says: a text, or a list of parts. Calls among them are in `calls` then, results are written. */
static bool read_content(Speech *s, Json *j, Piece *content, bool *results) {
  if (json_next(j) == 'n') return json_null(j);
  if (json_next(j) == '"') return json_text(j, &s->content, content);
  if (s->calls.size || !json_take(j, '[')) return false; /* calls among the parts come before the others */
  if (json_take(j, ']')) return true;
  do {
    if (!read_part(s, j, content, results)) return false;
  } while (json_take(j, ','));
  return json_take(j, ']');
}

static bool read_function(Speech *s, Json *j, Piece *name) {
  static const char *const names[] = {"name", "arguments", NULL};
  unsigned seen = 0;
  Piece text;
  if (!json_take(j, '{')) return false;
  do {
    switch (json_key(j, names, &seen)) {
      case 0:
        if (!text_or_null(j, &s->other, name)) return false;
        break;
      case 1:
        if (json_next(j) == '{' || json_next(j) == '[') {
          if (!json_copy(j, &s->arguments, &s->other, 0)) return false;
        } else if (!text_or_null(j, &s->other, &text) || (text.in && !arguments_of(s, text))) {
          return false;
        }
        break;
      default: return false;
    }
  } while (json_take(j, ','));
  return json_take(j, '}');
}

static bool read_calls(Speech *s, Json *j) {
  static const char *const names[] = {"id", "type", "index", "function", NULL};
  enum { ID, TYPE, INDEX, FUNCTION };
  if (json_next(j) == 'n') return json_null(j);
  if (!json_take(j, '[')) return false;
  if (json_take(j, ']')) return true;
  do {
    Piece id = {0}, name = {0}, ignored;
    unsigned seen = 0;
    s->arguments.size = 0;
    if (!json_take(j, '{')) return false;
    do {
      bool done = false;
      switch (json_key(j, names, &seen)) {
        case ID: done = text_or_null(j, &s->other, &id); break;
        case TYPE: done = json_text(j, &s->other, &ignored); break;
        case INDEX: json_next(j); done = json_number(j, &s->other); break;
        case FUNCTION: done = read_function(s, j, &name); break;
      }
      if (!done) return false;
    } while (json_take(j, ','));
    if (!json_take(j, '}') || !(seen & 1u << FUNCTION)) return false;
    if (!name.size) name.in = NULL;
    if (!add_call(s, id, name, (Slice){s->arguments.data, s->arguments.size})) return false;
  } while (json_take(j, ','));
  return json_take(j, ']');
}

static bool read_message(Speech *s, Json *j) {
  static const char *const names[] = {"role", "content", "parts", "tool_calls", "tool_call_id", "name", "finish_reason",
                                      "refusal", "audio", "function_call", "annotations", NULL};
  enum { ROLE, CONTENT, PARTS, CALLS, ID, NAME, REASON, REFUSAL, AUDIO, FUNCTION, NOTES };
  Message m = {0};
  Piece role = {0};
  bool results = false;
  unsigned seen = 0;
  s->calls.size = 0;
  if (!json_take(j, '{')) return false;
  do {
    bool done = false;
    switch (json_key(j, names, &seen)) {
      case ROLE: done = json_text(j, &s->other, &role) && role_named(piece_bytes(role), &m.role); break;
      case CONTENT: done = !(seen & 1u << PARTS) && read_content(s, j, &m.content, &results); break;
      case PARTS: done = !(seen & 1u << CONTENT) && read_content(s, j, &m.content, &results); break;
      case CALLS: done = read_calls(s, j); break;
      case ID: done = json_text(j, &s->other, &m.identifier) && m.identifier.size; break;
      case NAME: done = text_or_null(j, &s->other, &m.name); break;
      case REASON: done = text_or_null(j, &s->other, &m.reason); break;
      case REFUSAL: case AUDIO: case FUNCTION: done = json_null(j); break; /* OpenAI's answers have them all */
      case NOTES: done = json_take(j, '[') ? json_take(j, ']') : json_null(j); break;
    }
    if (!done) return false;
  } while (json_take(j, ','));
  return json_take(j, '}') && role.in && add_message(s, &m, results);
}

/* Whether an object whose first key comes next may be a part: messages are of no type. */
static bool json_starts_part(Json j) {
  for (int i = 0; i < 2; i++) {
    Slice key;
    bool plain;
    if (!json_over_text(&j, &key, &plain)) return false;
    if (key.size == 4 && (!memcmp(key.data, "type", 4) || !memcmp(key.data, "text", 4))) return true;
    if (!json_take(&j, ':') || json_next(&j) != '"' || !json_over_text(&j, &key, &plain) || !json_take(&j, ',')) return false;
    json_next(&j);
  }
  return false;
}

/* The texts of one message, whose role is not said there: OpenTelemetry's system instructions. */
static bool read_texts(Speech *s, Json *j, Role role) {
  Message m = {.role = role};
  bool results = false;
  s->calls.size = 0;
  do {
    if (!read_part(s, j, &m.content, &results) || results || s->calls.size) return false;
  } while (json_take(j, ','));
  return add_message(s, &m, false);
}

static bool read_list(Speech *s, Slice text, Role role) {
  Json j = {text.data, text.data + text.size};
  if (json_next(&j) == '{') return read_message(s, &j) && json_next(&j) == 0 && j.at == j.end;
  if (!json_take(&j, '[')) return false;
  Json first = j;
  if (json_take(&first, '{') && json_next(&first) == '"' && json_starts_part(first)) {
    if (!read_texts(s, &j, role)) return false;
  } else {
    do {
      if (!read_message(s, &j)) return false;
    } while (json_take(&j, ','));
  }
  return json_take(&j, ']') && json_next(&j) == 0 && j.at == j.end;
}

/* ---- Flattened into attribute keys ------------------------------------------------------------------------------- */

/* Messages and calls may be wrapped (`.message.`, `.tool_call.`), what a call is of once more (`.function.`). */
typedef struct {
  uint32_t message, number;
  bool wrapped, function;
  Slice id, name, arguments; /* data NULL: there is none */
} FlatCall;

typedef struct {
  bool there, wrapped;
  Slice role, content, identifier, name, reason;
} FlatMessage;

static bool take_word(Slice *key, const char *word) {
  size_t size = strlen(word);
  if (key->size < size || memcmp(key->data, word, size)) return false;
  key->data += size;
  key->size -= size;
  return true;
}

static bool whole(Slice key, const char *word) { return take_word(&key, word) && !key.size; }

/* A place as it is written without leading zeros, and the dot after it. */
static bool take_place(Slice *key, uint32_t *place, uint32_t limit) {
  size_t digits = 0;
  *place = 0;
  while (digits < key->size && digits < 6 && key->data[digits] >= '0' && key->data[digits] <= '9')
    *place = *place * 10 + (key->data[digits++] - '0');
  if (!digits || (digits > 1 && key->data[0] == '0') || *place >= limit) return false;
  key->data += digits;
  key->size -= digits;
  return take_word(key, ".");
}

static Slice *flat_member(Slice key, uint32_t place, FlatMessage *messages, FlatCall *calls, int *count) {
  FlatMessage *m = &messages[place];
  bool wrapped = take_word(&key, "message.");
  if (!m->there) *m = (FlatMessage){.there = true, .wrapped = wrapped};
  if (m->wrapped != wrapped) return NULL;
  if (whole(key, "role")) return &m->role;
  if (whole(key, "content")) return &m->content;
  if (whole(key, "tool_call_id")) return &m->identifier;
  if (whole(key, "name")) return &m->name;
  if (whole(key, "finish_reason")) return &m->reason;
  uint32_t number;
  if (!take_word(&key, "tool_calls.") || !take_place(&key, &number, MAX_FLAT_CALLS)) return NULL;
  wrapped = take_word(&key, "tool_call.");
  FlatCall *call = NULL;
  for (int i = *count; !call && i-- > 0;) {
    if (calls[i].message == place && calls[i].number == number) call = &calls[i];
  }
  if (!call) {
    if (*count == MAX_FLAT_CALLS) return NULL;
    call = &calls[(*count)++];
    *call = (FlatCall){.message = place, .number = number, .wrapped = wrapped};
  }
  if (call->wrapped != wrapped) return NULL;
  if (whole(key, "id")) return &call->id;
  bool function = take_word(&key, "function.");
  if ((call->name.data || call->arguments.data) && call->function != function) return NULL;
  call->function = function;
  if (whole(key, "name")) return &call->name;
  return whole(key, "arguments") ? &call->arguments : NULL;
}

static bool piece_of(Buffer *in, Slice text, Piece *piece) {
  *piece = (Piece){text.data ? in : NULL, in->size, text.size};
  return buffer_add(in, text.data, text.size);
}

static bool flat_message(Speech *s, const FlatMessage *flat, uint32_t place, const FlatCall *calls, int count) {
  Message m = {0};
  if (!role_named(flat->role, &m.role) || !piece_of(&s->content, flat->content, &m.content) ||
      !piece_of(&s->other, flat->identifier, &m.identifier) || !piece_of(&s->other, flat->name, &m.name) ||
      !piece_of(&s->other, flat->reason, &m.reason) || (flat->identifier.data && !m.identifier.size))
    return false;
  s->calls.size = 0;
  int own = 0, done = 0;
  for (int i = 0; i < count; i++) own += calls[i].message == place;
  for (uint32_t number = 0; done < own && number < MAX_FLAT_CALLS; number++) {
    for (int i = 0; i < count; i++) {
      const FlatCall *call = &calls[i];
      if (call->message != place || call->number != number) continue;
      Piece id, name, arguments;
      s->arguments.size = 0;
      if (!piece_of(&s->other, call->id, &id) || !piece_of(&s->other, call->name, &name) ||
          !piece_of(&s->other, call->arguments, &arguments) || (arguments.in && !arguments_of(s, arguments)))
        return false;
      if (!name.size) name.in = NULL;
      if (!add_call(s, id, name, (Slice){s->arguments.data, s->arguments.size}))
        return false;
      done++;
    }
  }
  return add_message(s, &m, false);
}

typedef struct {
  FlatMessage messages[MAX_FLAT_MESSAGES];
  FlatCall calls[MAX_FLAT_CALLS];
  int count;
  uint32_t end;
} Flat;

static bool gather_flat(Flat *flat, PyObject *attributes, Slice prefix) {
  PyObject *name, *value;
  Py_ssize_t at = 0;
  flat->count = 0;
  flat->end = 0;
  while (PyDict_Next(attributes, &at, &name, &value)) {
    Py_ssize_t size;
    const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, &size) : NULL;
    uint32_t place;
    if (!text) return false;
    Slice key = {(const uint8_t *)text, (size_t)size};
    if (key.size < prefix.size || memcmp(key.data, prefix.data, prefix.size)) continue;
    key = (Slice){key.data + prefix.size, key.size - prefix.size};
    if (!take_place(&key, &place, MAX_FLAT_MESSAGES)) return false;
    for (; flat->end <= place; flat->end++) flat->messages[flat->end].there = false;
    Slice *member = flat_member(key, place, flat->messages, flat->calls, &flat->count);
    text = member && PyUnicode_Check(value) ? PyUnicode_AsUTF8AndSize(value, &size) : NULL;
    if (!text) return false;
    *member = (Slice){(const uint8_t *)text, (size_t)size};
  }
  return true;
}

static bool read_flat(Speech *s, PyObject *attributes, Slice prefix) {
  Flat *flat = malloc(sizeof *flat);
  bool done = flat && gather_flat(flat, attributes, prefix);
  for (uint32_t i = 0; done && i < flat->end; i++) {
    done = !flat->messages[i].there || flat_message(s, &flat->messages[i], i, flat->calls, flat->count);
  }
  free(flat);
  return done && s->messages > 0;
}

/* ---- For Python -------------------------------------------------------------------------------------------------- */

static PyObject *python_piece(Piece piece) {
  Slice bytes = piece_bytes(piece);
  return piece.in ? PyUnicode_DecodeUTF8((const char *)bytes.data, (Py_ssize_t)bytes.size, NULL) : Py_NewRef(Py_None);
}

static PyObject *python_speech(Speech *s) {
  if (!buffer_byte(&s->out, ']')) return PyErr_NoMemory();
  Piece all = {&s->out, 0, s->out.size}, said = {s->any_said ? &s->said : NULL, 0, s->said.size};
  PyObject *json = python_piece(all), *asked = python_piece(s->asked), *user = python_piece(s->user),
           *assistant = python_piece(s->assistant), *answer = python_piece(said);
  if (!json || !asked || !user || !assistant || !answer) {
    Py_XDECREF(json);
    Py_XDECREF(asked);
    Py_XDECREF(user);
    Py_XDECREF(assistant);
    Py_XDECREF(answer);
    return NULL;
  }
  PyObject *reason = Py_NewRef(s->reason ? s->reason : Py_None);
  return Py_BuildValue("(NsNNNNN)", json, ROLE_NAMES[s->first], asked, user, assistant, answer, reason);
}

enum { KEPT = 7 };

/* messages(where, prefix or None, role, reason_of) */
static PyObject *messages(PyObject *module, PyObject *args) {
  static Buffer kept[KEPT]; /* from call to call: they grow to what messages need */
  PyObject *where, *reason_of, *result = NULL;
  const char *prefix, *named;
  Py_ssize_t size, named_size;
  Role role;
  (void)module;
  if (!PyArg_ParseTuple(args, "Oz#s#O", &where, &prefix, &size, &named, &named_size, &reason_of)) return NULL;
  if (!role_named((Slice){(const uint8_t *)named, (size_t)named_size}, &role)) Py_RETURN_NONE;
  Speech s = {.out = kept[0], .content = kept[1], .other = kept[2], .calls = kept[3], .said = kept[4], .arguments = kept[5],
              .spare = kept[6], .reason_of = reason_of};
  memset(kept, 0, sizeof kept); /* `reason_of` may let another thread in here */
  s.out.size = s.content.size = s.other.size = s.calls.size = s.said.size = s.arguments.size = s.spare.size = 0;
  bool done = false;
  if (prefix) {
    done = PyDict_Check(where) && read_flat(&s, where, (Slice){(const uint8_t *)prefix, (size_t)size});
  } else if (PyUnicode_Check(where)) {
    const char *text = PyUnicode_AsUTF8AndSize(where, &size);
    done = text && read_list(&s, (Slice){(const uint8_t *)text, (size_t)size}, role);
  }
  if (PyErr_Occurred()) PyErr_Clear(); /* lone surrogates, no memory: the reference has an answer to everything */
  if (done) result = python_speech(&s);
  if (!result) {
    PyErr_Clear();
    result = Py_NewRef(Py_None);
  }
  Py_CLEAR(s.reason);
  Buffer mine[KEPT] = {s.out, s.content, s.other, s.calls, s.said, s.arguments, s.spare};
  for (int i = 0; i < KEPT; i++) {
    buffer_free(&kept[i]);
    if (mine[i].room <= LARGE) kept[i] = mine[i];
    else buffer_free(&mine[i]);
  }
  return result;
}

#endif
