-- Which manifests were made for the archive, and are they still valid?
SELECT night.date, manifest.name, COUNT(*) AS products, SUM(manifest_line.size_bytes) AS bytes, manifest.withdrawn_us
FROM manifest
JOIN manifest_line ON manifest_line.manifest_id = manifest.id
JOIN night ON night.id = manifest.night_id
GROUP BY manifest.id, night.date, manifest.name, manifest.withdrawn_us
ORDER BY night.date, manifest.id
