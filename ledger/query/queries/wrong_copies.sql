-- Which copies are wrong, and what was found?
SELECT date, name, state, fault
FROM unverified
ORDER BY date, name
