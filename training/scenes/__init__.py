"""Generated scenes and video with exact truth: sprites on photographs, and questions with known answers.

`generator.SceneGenerator` makes stills, `video.VideoGenerator` clips; see `docs/scenes.md`.
"""
