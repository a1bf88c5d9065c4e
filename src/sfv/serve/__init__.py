"""Clips over HTTP: uploads, guard, jobs, store, workers, routes, client.

This floor knows requests, jobs and processes. It does not know networks, noise or codecs: a worker asks `generation`
for a clip and `media` for a file. The only importer of FastAPI, Starlette, Uvicorn, SQLAlchemy, httpx,
prometheus_client and boto3.
"""
