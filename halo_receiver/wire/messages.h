/* Messages of every shape → the JSON of the canonical columns, and what else is asked of them: conventions/messages.py
 * and message_summary.summarize in C, over a tree.
 */
#ifndef HALO_MESSAGES_H
#define HALO_MESSAGES_H

#include "parts.h"

#define MAX_READ_MESSAGES 2048 /* messages.MAX_MESSAGES is more: the reference reads those */
#define MAX_MESSAGE_DEPTH 6

static bool is_role(Slice role, const char *name) { return is_text(role, name); }

/* ---- writing */

/* A member of the message that is being written; nothing where there is no text. */
static bool add_named(Buffer *out, const char *name, Slice text) {
  return !text.data || (add_words(out, name) && add_string(out, text));
}

static bool close_message(Speech *s) {
  if (!s->open) return true;
  Message *m = &s->last;
  s->open = false;
  Py_CLEAR(s->reason);
  if (!m->reason.data) m->reason = s->late;
  if (m->reason.data && (m->reason.size || !s->twice)) {
    PyObject *reason = PyObject_CallFunction(s->reason_of, "s#", (const char *)m->reason.data, (Py_ssize_t)m->reason.size);
    Py_ssize_t size = 0;
    const char *text = reason && reason != Py_None ? PyUnicode_AsUTF8AndSize(reason, &size) : NULL;
    s->reason = reason;
    if (!reason || (!text && reason != Py_None) || !add_words(&s->out, ",\"finish_reason\":") ||
        !(text ? add_string(&s->out, (Slice){(const uint8_t *)text, (size_t)size}) : add_words(&s->out, "null")))
      return false;
  }
  return buffer_byte(&s->out, '}');
}

/* The reference reads what it made of events once more: what is empty is left out then. */
static void drop_empty(Speech *s, Message *m) {
  Slice *all[] = {&m->content, &m->identifier, &m->name};
  bool tool = is_role(m->role, "tool");
  if (tool && !m->identifier.data) m->identifier = s->defaults.identifier;
  if (!tool) m->identifier = (Slice){NULL, 0};
  for (int i = 0; i < 3; i++) {
    if (!all[i]->size) all[i]->data = NULL;
  }
}

static bool begin_message(Speech *s, Message *m) {
  if (s->messages == MAX_READ_MESSAGES || !close_message(s)) return false;
  if (s->twice) drop_empty(s, m);
  if (!s->messages++) s->first = m->role;
  s->last = *m;
  s->late = s->defaults.reason;
  s->open = true;
  if (m->content.size) {
    bool user = is_role(m->role, "user");
    if (user || is_role(m->role, "tool")) s->asked = m->content;
    if (user) s->user = m->content;
    if (is_role(m->role, "assistant")) {
      if ((s->assistant.data && !buffer_byte(&s->said, '\n')) || !buffer_add(&s->said, m->content.data, m->content.size))
        return false;
      s->assistant = m->content;
    }
  }
  return buffer_byte(&s->out, s->out.size ? ',' : '[') && add_words(&s->out, "{\"role\":") &&
         add_string(&s->out, m->role) && add_words(&s->out, ",\"content\":") &&
         (m->content.data ? add_string(&s->out, m->content) : add_words(&s->out, "null"));
}

/* A message without structure: a text, or a tool's result. */
static bool add_plain(Speech *s, Message *m) {
  return begin_message(s, m) && add_named(&s->out, ",\"tool_call_id\":", m->identifier) &&
         add_named(&s->out, ",\"name\":", m->name);
}

static bool add_list(Buffer *out, const char *name, const Buffer *items) {
  return !items->size || (add_words(out, name) && buffer_add(out, items->data, items->size) && buffer_byte(out, ']'));
}

/* ---- roles */

/* Look a name up in the table of roles, in lower case; word is NULL where it is not there. False: not sure. */
static bool find_role(Speech *s, Slice name, Slice *lower, const Word **word) {
  *lower = name;
  for (size_t i = 0; i < name.size; i++) {
    if (name.data[i] >= 0x80) return false; /* Python knows more letters */
    if (name.data[i] < 'A' || name.data[i] > 'Z') continue;
    if (lower->data == name.data && !arena_copy(&s->arena, lower)) return false;
    ((uint8_t *)(uintptr_t)lower->data)[i] |= 32;
  }
  *word = word_find(&role_names, *lower);
  return true;
}

/* The role of a name: what the table says, else the name in lower case. */
static bool role_of(Speech *s, Slice name, Slice *role) {
  const Word *word;
  if (!find_role(s, name, role, &word)) return false;
  if (word) *role = word->means;
  return true;
}

/* The role that LangChain's class or an event's name says, `otherwise` where they say none. */
static bool langchain_role(Speech *s, const Node *value, Slice otherwise, Slice *role) {
  const Node *id = get(value, M_OF_ID), *name = either((Item){value, NULL}, LIST(M_OF_TYPE, M_OF_EVENT_NAME));
  const Word *word = NULL;
  Slice lower;
  if (is(id, '[') && is(id->last, '"')) name = id->last;
  if (is(name, '"') && !find_role(s, name->text, &lower, &word)) return false;
  *role = word ? word->means : otherwise;
  return true;
}

/* ---- reading */

static bool take_calls(Speech *s, Item item) {
  const Node *calls;
  if (!structure_of(&s->arena, either(item, LIST(M_OF_TOOL_CALLS, M_OF_TOOLCALLS)), &calls)) return false;
  const Node *call = is(calls, '[') ? calls->first : calls;
  for (; call; call = is(calls, '[') ? call->next : NULL) {
    const Node *wrapped = get(call, M_OF_TOOL_CALL);
    if (!add_call(s, &s->parts, is(wrapped, '{') ? wrapped : call)) return false;
  }
  const Node *function = item_get(item, M_OF_FUNCTION_CALL);
  return !is(function, '{') || add_call(s, &s->parts, function);
}

static bool take_attached(Speech *s, Item item) {
  for (const Member *member = ATTACHED; *member; member++) {
    const Node *found = item_get(item, *member), *list;
    if (!found) continue;
    if (!structure_of(&s->arena, found, &list)) return false;
    const Node *part = is(list, '[') ? list->first : list;
    for (; part; part = is(list, '[') ? part->next : NULL) {
      if (!add_attached(&s->parts, part, *member)) return false;
    }
  }
  return true;
}

static bool take_members(Speech *s, Item item, uint32_t kind, const Node *type) {
  static const Member reasonings[] = {M_OF_REASONING_CONTENT, M_OF_REASONING, M_OF_THINKING};
  Gathered *g = &s->parts;
  const Node *content = first_there(item, LIST(M_OF_PARTS, M_OF_CONTENT, M_OF_CONTENTS));
  if (!content) content = item_get(item, M_OF_TEXT);
  if (!add_content(s, g, content) || !take_calls(s, item)) return false;
  for (int i = 0; i < 3; i++) {
    const Node *said = item_get(item, reasonings[i]);
    if (is_said(said) && !words_add(&g->reasoning, said->text)) return false;
  }
  const Node *refusal = item_get(item, M_OF_REFUSAL);
  if (is_said(refusal) && !words_add(&g->texts, refusal->text)) return false;
  if (!take_attached(s, item)) return false;
  if (!(kind & P_MADE) || !truthy(either(item, LIST(M_OF_RESULT, M_OF_OUTPUTS)))) return true;
  return (!g->media.size || buffer_byte(&g->media, ',')) && add_words(&g->media, "{\"type\":") &&
         add_string(&g->media, type->text) && buffer_byte(&g->media, '}');
}

static bool write_results(Speech *s) {
  Message *results = (Message *)(void *)s->parts.results.data;
  for (size_t i = 0; i < s->parts.results.size / sizeof *results; i++) {
    if (!add_plain(s, &results[i])) return false;
  }
  return true;
}

/* Write what was gathered of a message, behind the results it carries: unless these are all that it says. */
static bool write_message(Speech *s, Item item, Slice role, uint32_t kind) {
  Gathered *g = &s->parts;
  Message m = {.role = role};
  Slice reasoning;
  const Node *id = either(item, LIST(M_OF_TOOL_CALL_ID, M_OF_TOOLCALLID, M_OF_ID)), *name = item_get(item, M_OF_NAME);
  const Node *reason = either(item, LIST(M_OF_FINISH_REASON, M_OF_STOP_REASON, M_OF_FINISHREASON));
  if (!words_joined(&s->arena, &g->texts, &m.content) || !words_joined(&s->arena, &g->reasoning, &reasoning)) return false;
  if (is_role(role, "tool") && is(id, '"')) m.identifier = id->text;
  if (is_said(name) && !(kind & (P_CALL | P_RESULT))) m.name = name->text;
  if (is_said(reason)) m.reason = reason->text;
  bool bare = !m.content.data && !reasoning.data && !g->calls.size && !g->media.size && !m.identifier.data &&
              !m.name.data && !m.reason.data;
  if (!write_results(s)) return false;
  if (g->results.size && bare) return true;
  if (g->calls.size) m.role = slice_of("assistant");
  return begin_message(s, &m) && add_named(&s->out, ",\"reasoning\":", reasoning) &&
         add_list(&s->out, ",\"tool_calls\":[", &g->calls) && add_list(&s->out, ",\"media\":[", &g->media) &&
         add_named(&s->out, ",\"tool_call_id\":", m.identifier) && add_named(&s->out, ",\"name\":", m.name);
}

/* Append what one message says: itself, preceded by a tool message for each tool result it carries. */
static bool read_message(Speech *s, const Node *value, Slice role) {
  Item item = {value, NULL};
  uint32_t kind = kind_of(value);
  const Node *said = get(value, M_OF_ROLE);
  Slice named = role;
  if (is_said(said)) named = said->text;
  else if (!truthy(said) && !langchain_role(s, value, role, &named)) return false;
  if (!role_of(s, named, &role)) return false;
  const Node *inner = either(item, LIST(M_OF_KWARGS, M_OF_DATA));
  if (is(inner, '{') && !get(value, M_OF_CONTENT)) item.over = inner;
  gathered_empty(&s->parts);
  if (kind & (P_CALL | P_RESULT | P_REASONING)) {
    if (item.over) return false; /* LangChain's have no such type */
    return add_part(s, &s->parts, value) && write_message(s, item, role, kind);
  }
  return take_members(s, item, kind, get(value, M_OF_TYPE)) && write_message(s, item, role, kind);
}

static bool is_part(const Node *item) {
  uint32_t kind = kind_of(item);
  const Node *type = get(item, M_OF_TYPE);
  if (get(item, M_OF_MESSAGE)) return false;
  if (get(item, M_OF_CONTENT) && (!there(type) || (is(type, '"') && is_text(type->text, "message")))) return false;
  if (kind & P_TEXT) return true;
  return !type && (get(item, M_OF_TEXT) || get(item, M_OF_TOOLUSE) || get(item, M_OF_TOOLRESULT) || has_any(item, MEDIA_MEMBERS));
}

static bool read_messages(Speech *s, const Node *value, Slice role, int depth);

/* What an image API answers with. */
static const Node *images_of(const Node *value) {
  static const Member members[] = {M_OF_IMAGES, M_OF_DATA};
  for (int i = 0; i < 2; i++) {
    const Node *made = get(value, members[i]);
    bool all = is(made, '[') && made->count;
    for (const Node *item = all ? made->first : NULL; item; item = item->next) {
      all = all && (get(item, M_OF_B64_JSON) || get(item, M_OF_URL));
    }
    if (all) return made;
  }
  return NULL;
}

/* An object that holds the messages: 1 read, 0 it is none, -1 not sure. */
static int read_holder(Speech *s, const Node *value, Slice role, int depth) {
  static const Member holders[] = {M_OF_MESSAGES, M_OF_CONTENTS, M_OF_INPUT, M_OF_CHOICES,
                                   M_OF_CANDIDATES, M_OF_GENERATIONS, M_OF_OUTPUT, M_OF_PROMPT, M_OF_NONE};
  const Node *system = either((Item){value, NULL}, LIST(M_OF_SYSTEM, M_OF_SYSTEM_INSTRUCTION, M_OF_INSTRUCTIONS));
  if (!there(system)) system = get(get(value, M_OF_CONFIG), M_OF_SYSTEM_INSTRUCTION);
  for (const Member *holder = holders; *holder; holder++) {
    const Node *inner = get(value, *holder);
    bool asks = *holder == M_OF_PROMPT || *holder == M_OF_INPUT, output = *holder == M_OF_OUTPUT;
    if (!is(inner, '[') && !is(inner, '{') && !(asks && is_said(inner))) continue;
    if ((asks || output) && get(value, M_OF_ROLE)) continue; /* an item of its own */
    if (output && get(value, M_OF_TYPE)) continue;           /* a function_call_output */
    bool answer = output || *holder == M_OF_CHOICES || *holder == M_OF_CANDIDATES || *holder == M_OF_GENERATIONS;
    if (truthy(system) && !answer) {
      Node *message = node_around(&s->arena, M_OF_CONTENT, system);
      if (!message || !read_message(s, message, slice_of("system"))) return -1;
    }
    if (is(inner, '"')) return add_plain(s, &(Message){.role = role, .content = inner->text}) ? 1 : -1;
    return read_messages(s, inner, answer ? slice_of("assistant") : role, depth + 1) ? 1 : -1;
  }
  return 0;
}

/* A message in a wrapper, which may say its role and how it ended. */
static bool read_wrapped(Speech *s, const Node *value, const Node *wrapped, Slice role) {
  const Node *said = get(value, M_OF_ROLE);
  int before = s->messages;
  if (is_said(said)) role = said->text;
  else if (!langchain_role(s, value, role, &role)) return false;
  if (!read_message(s, wrapped, role)) return false;
  const Node *reason = either((Item){value, NULL}, LIST(M_OF_FINISH_REASON, M_OF_FINISHREASON));
  if (is(reason, '"') && s->messages > before && !s->last.reason.data) s->last.reason = reason->text; /* not written yet */
  return true;
}

static bool read_object(Speech *s, const Node *value, Slice role, int depth) {
  int held = read_holder(s, value, role, depth);
  if (held) return held > 0;
  const Node *wrapped = either((Item){value, NULL}, LIST(M_OF_MESSAGE, M_OF_KWARGS, M_OF_DATA));
  if (is(wrapped, '{')) return read_wrapped(s, value, wrapped, role);
  const Node *prompt = get(value, M_OF_PROMPT), *completion = get(value, M_OF_COMPLETION);
  if (is(prompt, '{') || is(completion, '{')) { /* OpenInference */
    const Node *inner = truthy(prompt) ? prompt : completion, *text = get(inner, M_OF_TEXT);
    Node *message = text ? node_around(&s->arena, M_OF_CONTENT, text) : node_new(&s->arena, '{');
    return message && read_message(s, message, role);
  }
  if (get(value, M_OF_ROLE) || get(value, M_OF_CONTENT) || get(value, M_OF_PARTS) ||
      kind_of(value) & (P_CALL | P_RESULT | P_MADE)) {
    return langchain_role(s, value, role, &role) && read_message(s, value, role);
  }
  const Node *made = images_of(value);
  if (made) {
    Node *message = node_around(&s->arena, M_OF_IMAGES, made);
    return message && read_message(s, message, slice_of("assistant"));
  }
  if (get(value, M_OF_EVENT_NAME) || get(value, M_OF_TOOL_CALLS) || (is_part(value) && is_role(role, "assistant")))
    return read_message(s, value, role);
  return true;
}

static bool all_parts(const Node *list) {
  for (const Node *item = list->first; item; item = item->next) {
    if (item->kind != '{' || get(item, M_OF_ROLE) || !is_part(item)) return false;
  }
  return list->count > 0;
}

static bool read_messages(Speech *s, const Node *value, Slice role, int depth) {
  if (depth > MAX_MESSAGE_DEPTH) return true;
  if (is(value, '{')) return read_object(s, value, role, depth);
  if (!is(value, '[')) return true;
  if (all_parts(value)) {
    Node *message = node_around(&s->arena, M_OF_CONTENT, value);
    return message && read_message(s, message, role);
  }
  for (const Node *item = value->first; item; item = item->next) {
    if ((is(item, '{') || is(item, '[')) && !read_messages(s, item, role, depth + 1)) return false;
  }
  return true;
}

/* ---- what Python gives, and gets */

/* A text: messages in JSON, or one message that is that text. */
static bool read_text(Speech *s, Slice text, Slice role) {
  Json j = {text.data, text.data + text.size};
  uint8_t next = json_next(&j);
  if (next == '{' || next == '[') {
    const Node *tree = tree_of(&s->arena, text);
    return tree && read_messages(s, tree, role, 0);
  }
  if (next == '"') return false;
  return !text.size || add_plain(s, &(Message){.role = role, .content = text});
}

/* Only the entries of a list that are, or are not, an answer: Pydantic AI's first format. */
static bool read_choices(Speech *s, Slice text, Slice role, bool wanted) {
  Node *list = tree_of(&s->arena, text);
  if (!is(list, '[')) return false;
  Node **at = &list->first;
  list->last = NULL;
  list->count = 0;
  while (*at) {
    const Node *name = get(*at, M_OF_EVENT_NAME);
    bool answer = is(name, '"') && is_text(name->text, "gen_ai.choice");
    if ((*at)->kind == '{' && answer == wanted) {
      list->last = *at;
      list->count++;
      at = &(*at)->next;
    } else {
      *at = (*at)->next;
    }
  }
  return read_messages(s, list, role, 0);
}

/* The messages of one span event: text, role, finish reason, id of a tool's call. */
static bool read_event_texts(Speech *s, const Slice texts[4]) {
  s->twice = true;
  if (!texts[1].data) return false;
  s->defaults = (Message){.reason = texts[2], .identifier = texts[3]};
  return !texts[0].data || read_text(s, texts[0], texts[1]);
}

/* The messages of span events: (text, role, finish reason or None, id of a tool's call or None) each. */
static bool read_events(Speech *s, PyObject *events) {
  for (Py_ssize_t i = 0; i < PyList_Size(events); i++) {
    PyObject *event = PyList_GetItem(events, i);
    Slice texts[4] = {{NULL, 0}};
    if (!PyTuple_Check(event) || PyTuple_Size(event) != 4) return false;
    for (Py_ssize_t k = 0; k < 4; k++) {
      PyObject *value = PyTuple_GetItem(event, k);
      if (value != Py_None && !python_text(value, &texts[k])) return false;
    }
    if (!read_event_texts(s, texts)) return false;
  }
  return true;
}

static bool read_any(Speech *s, PyObject *where, PyObject *how, Slice role) {
  Slice text;
  if (PyList_Check(where)) return read_events(s, where);
  if (PyDict_Check(where)) {
    Node *tree;
    if (python_text(how, &text)) tree = tree_of_flat(&s->arena, where, text);
    else tree = tree_of_texts(&s->arena, where);
    return tree && read_messages(s, tree, role, 0);
  }
  if (!python_text(where, &text)) return false;
  return PyBool_Check(how) ? read_choices(s, text, role, how == Py_True) : read_text(s, text, role);
}

static PyObject *python_slice(Slice text) {
  return text.data ? PyUnicode_DecodeUTF8((const char *)text.data, (Py_ssize_t)text.size, NULL) : Py_NewRef(Py_None);
}

static bool speech_close(Speech *s) { return close_message(s) && buffer_byte(&s->out, ']'); }

static PyObject *python_speech(Speech *s) {
  if (!s->messages) return PyTuple_New(0);
  if (!speech_close(s)) return NULL;
  Slice answer = {s->assistant.data ? s->said.data : NULL, s->said.size}, all = {s->out.data, s->out.size};
  PyObject *parts[] = {python_slice(all), python_slice(s->first), python_slice(s->asked), python_slice(s->user),
                       python_slice(s->assistant), python_slice(answer), Py_NewRef(s->reason ? s->reason : Py_None)};
  PyObject *result = PyTuple_New(7);
  for (Py_ssize_t i = 0; i < 7; i++) {
    if (!parts[i]) Py_CLEAR(result);
    if (!result || PyTuple_SetItem(result, i, parts[i]) < 0) Py_CLEAR(result);
  }
  return result;
}

/* Give away what grew beyond `room`. */
static void speech_trim(Speech *s, size_t room) {
  gathered_trim(&s->parts, room);
  gathered_trim(&s->inner, room);
  if (s->out.room > room) buffer_free(&s->out);
  if (s->said.room > room) buffer_free(&s->said);
  if (!room) arena_free(&s->arena);
}

static void speech_empty(Speech *s) {
  arena_empty(&s->arena);
  gathered_empty(&s->parts);
  gathered_empty(&s->inner);
  s->out.size = s->said.size = 0;
}

/* Begin anew, with the same buffers. */
static void speech_begin(Speech *s, PyObject *reason_of) {
  Py_CLEAR(s->reason);
  speech_empty(s);
  speech_trim(s, LARGE);
  *s = (Speech){.arena = s->arena, .parts = s->parts, .inner = s->inner, .out = s->out, .said = s->said};
  s->inner.inner = true;
  s->reason_of = reason_of;
}

/* messages(where, how, role, reason_of) */
static PyObject *messages(PyObject *module, PyObject *args) {
  static Speech kept; /* its buffers, from call to call: they grow to what messages need */
  PyObject *where, *how, *reason_of, *result = NULL;
  const char *named;
  Py_ssize_t size;
  (void)module;
  if (!PyArg_ParseTuple(args, "OOs#O", &where, &how, &named, &size, &reason_of)) return NULL;
  Speech s = kept;
  memset(&kept, 0, sizeof kept); /* `reason_of` may let another thread in here */
  speech_begin(&s, reason_of);
  if (part_kinds.count && read_any(&s, where, how, (Slice){(const uint8_t *)named, (size_t)size})) result = python_speech(&s);
  if (PyErr_Occurred()) Py_CLEAR(result);
  PyErr_Clear(); /* lone surrogates, no memory: the reference has an answer to everything */
  Py_CLEAR(s.reason);
  speech_empty(&s);
  if (kept.out.room || kept.arena.chunk) { /* another thread has left its own meanwhile */
    speech_trim(&s, 0);
  } else {
    speech_trim(&s, LARGE);
    kept = (Speech){.arena = s.arena, .parts = s.parts, .inner = s.inner, .out = s.out, .said = s.said};
  }
  return result ? result : Py_NewRef(Py_None);
}

/* learn(kinds, roles): {kind of part: flags}, {role in lower case: canonical role}; once, when Python starts. */
static PyObject *learn(PyObject *module, PyObject *args) {
  PyObject *kinds, *roles, *name, *value;
  Py_ssize_t at = 0;
  Slice word, means;
  (void)module;
  if (!PyArg_ParseTuple(args, "O!O!", &PyDict_Type, &kinds, &PyDict_Type, &roles)) return NULL;
  if (part_kinds.count || role_names.count) Py_RETURN_NONE;
  bool done = true;
  while (done && PyDict_Next(kinds, &at, &name, &value)) {
    done = python_text(name, &word) && word_add(&part_kinds, word, (uint32_t)PyLong_AsLong(value), (Slice){NULL, 0});
  }
  at = 0;
  while (done && PyDict_Next(roles, &at, &name, &value)) {
    done = python_text(name, &word) && python_text(value, &means) && word_add(&role_names, word, 0, means);
  }
  if (!done && !PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "too many words, or one twice");
  return done ? Py_NewRef(Py_None) : NULL;
}

#endif
