"""What an answer gives away: secrets, and the agent's own instructions."""

from __future__ import annotations

from halo_worker.analysis.detectors.detector import Unit, escaped

# What providers' keys, private keys and payment cards look like. Shapes that documentation shows (sk-..., a key cut
# short, AKIAIOSFODNN7EXAMPLE) are left out by length and by the word.
KEY_SHAPES = (
    r"\b(sk-(proj-|ant-|svcacct-|or-v1-)?[A-Za-z0-9_-]{32,}|[sr]k_live_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9]{24,}|AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50,}"
    r"|glpat-[A-Za-z0-9_-]{20,}|npm_[A-Za-z0-9]{36}|hf_[A-Za-z0-9]{30,}|xox[baprs]-[0-9A-Za-z-]{24,}|AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{30,}|SG\.[\w-]{20,}\.[\w-]{30,}"
    r"|eyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(postgres(ql)?|mysql|mariadb|mongodb(\+srv)?|redis|amqps?|mssql|ftp|https?)://[^\s:/@]{1,60}:[^\s:/@*<{$]{6,}@[\w.-]+"
    r"|\b[45]\d{3}[ -]\d{4}[ -]\d{4}[ -]\d{4}\b|\b\d{3}-\d{2}-\d{4}\b"
    r"|(?i:\b(password|passwd|(aws_)?secret([_ ]access)?[_ ]key|api[_ -]?key|access[_ -]?token|client[_ -]?secret)[\"']?\s*(is|=|:)\s*[\"']?[^\s\"'<>*{}$()\[\]]{10,})"
)
NOT_REAL = r"(?i)example|xxxx|1234-?5678|123-45-6789|000-00|(0000[ -]?){2}|(1111[ -]?){2}|(4242[ -]?){2}|your|password@|user(name)?:pass|redacted|placeholder"
MIN_PROMPT = 40  # characters of an agent's instructions, said again word for word, that are a leak
UNITS = (
    Unit(
        name="leaked_secret",
        version=2,
        quotes="exact",
        category="Data Leak",
        definition="A model writes something with the shape of an API key, a token, a private key, a payment card or a social security number",
        source="the published formats of the providers' keys; OWASP LLM02, sensitive information disclosure",
        limits="shapes only: the key may be revoked or an example; keys of other shapes are not seen",
        sql=f"""
          SELECT coalesce(agent_name, model, name) AS key, coalesce(agent_name, model, name) AS subject, trace_id, span_id,
            span_id AS origin_span_id, 'output_text' AS field,
            left(secret, 12) AS quote
          FROM (SELECT *, regexp_extract(output_head, '{escaped(KEY_SHAPES)}') AS secret FROM _s WHERE span_type = 'llm' AND regexp_matches(output_head, '{escaped(KEY_SHAPES)}')) s
          WHERE NOT regexp_matches(secret, '{NOT_REAL}')
            AND (NOT regexp_matches(secret, '(?i)^(pass|secret|aws_|api|access|client)') OR regexp_matches(regexp_extract(secret, '\\S+$'), '\\d') AND regexp_matches(regexp_extract(secret, '\\S+$'), '[A-Za-z]'))
            -- The user's own words said back to them are no leak.
            AND NOT EXISTS (SELECT 1 FROM spans u WHERE u.trace_id = s.trace_id AND u.parent_span_id IS NULL AND contains(u.input_text, s.secret))
        """,
        title="{subject} writes what looks like a secret",
        description="An answer holds a key, token, card or social security number. Only the first characters are quoted here.",
        fix="Revoke it, find where the model read it (prompt, tool result, document), and filter answers for such shapes.",
        validation="No answer should match the shape again.",
        confidence=0.85,
        severity="high",
    ),
    Unit(
        name="leaked_prompt",
        version=2,
        category="Data Leak",
        definition="An answer holds the beginning of the agent's own instructions word for word",
        source="OWASP LLM07, system prompt leakage",
        limits=f"the first {MIN_PROMPT} to 80 characters; paraphrases and later parts are not seen; needs captured messages",
        sql=f"""
          SELECT coalesce(agent_name, model, name) AS key, coalesce(agent_name, model, name) AS subject, trace_id, span_id,
            span_id AS origin_span_id, 'output_text' AS field, system_head AS quote
          FROM _s WHERE span_type = 'llm' AND length(system_head) >= {MIN_PROMPT} AND contains(output_head, system_head)
        """,
        title="{subject} reveals its instructions",
        description="An answer repeats the system prompt word for word.",
        fix="Keep secrets and confidential rules out of the prompt; filter answers for its first sentence.",
        validation="No answer should hold the first sentence of the instructions.",
        confidence=0.9,
        severity="high",
    ),
)  # fmt: skip
