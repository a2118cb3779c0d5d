---
about = "Requests of the same form: words that many of the service's requests share stay, all others become '#'."
kind = "table"

[columns]
trace_id = "the trace"
service_name = ""
share = "of the requests, from which a word is part of their form: 0.02 and 0.1"
form = "at most 40 words"
---
WITH asked AS (
  SELECT trace_id, service_name, regexp_replace(
    lower(regexp_replace(asked, '([^.?!]) [A-Z][a-z]+', '\1 #', 'g')), '\S*\d\S*', '#', 'g') AS masked
  FROM requests
),
texts AS (
  SELECT service_name, masked, count(*) AS n, hash(service_name, masked) AS number FROM asked GROUP BY ALL
),
words AS (
  SELECT number, service_name, n, unnest(list) AS word, generate_subscripts(list, 1) AS place
  FROM (SELECT *, regexp_extract_all(masked, '[a-z'']+|#')[1:40] AS list FROM texts)
),
sizes AS (SELECT service_name, sum(n) AS traces FROM texts GROUP BY ALL),
levels AS (SELECT unnest([0.02, 0.1]) AS share),
common AS (
  SELECT service_name, word, share
  FROM (
    SELECT service_name, word, sum(n) AS n
    FROM (SELECT DISTINCT number, service_name, n, word FROM words WHERE word <> '#') GROUP BY ALL
  )
  JOIN sizes USING (service_name) CROSS JOIN levels WHERE n >= greatest(10, share * traces)
),
formed AS (
  SELECT number, service_name, share,
    regexp_replace(string_agg(coalesce(c.word, '#'), ' ' ORDER BY place), '(# )+#?', '# ', 'g') AS form
  FROM words CROSS JOIN levels LEFT JOIN common c USING (service_name, word, share)
  GROUP BY ALL HAVING count(c.word) >= 3
)
SELECT t.trace_id, t.service_name, f.share, f.form
FROM asked t JOIN texts x USING (service_name, masked)
JOIN formed f ON f.number = x.number AND f.service_name = t.service_name
