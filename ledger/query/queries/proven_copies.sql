-- How many proven copies are at the destination, and how large are they? A copy has one proof for each time that it was read.
SELECT pipeline, date, COUNT(*) AS copies, SUM(size_bytes) AS bytes, MAX(last_proven_us) AS last_proven_us
FROM (SELECT night.pipeline, night.date, copy.identity, MAX(copy.size_bytes) AS size_bytes, MAX(copy.proven_us) AS last_proven_us
      FROM copy
      JOIN night ON night.id = copy.night_id
      WHERE copy.withdrawn_us IS NULL AND copy.refuted_us IS NULL
      GROUP BY night.pipeline, night.date, copy.identity) AS proven
GROUP BY pipeline, date
ORDER BY pipeline, date
