"""What every room of operators uses: files, times as text, bounded memory, a worker's thread.

Nothing here knows of frames, phrases or records. Import from the modules: `utils.redis` needs redis, the
others the standard library only.
"""
