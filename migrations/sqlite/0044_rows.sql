-- For PostgreSQL alone: SQLite takes a batch as JSON.
SELECT 1;
