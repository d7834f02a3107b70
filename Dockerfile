# The page in a container, for a CPU: docker build -t mer_hf . && docker run -p 7860:7860 mer_hf
# Nothing that is analysed is kept: uploads lie in the container's temporary folder and go with it.
FROM python:3.13-slim

RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 visitor
WORKDIR /srv/mer_hf
COPY . .
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu --constraint constraints.txt ".[space]"

USER visitor
ENV GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860 HF_HUB_DISABLE_TELEMETRY=1
EXPOSE 7860
HEALTHCHECK --start-period=60s --timeout=10s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7860')"]
CMD ["python", "space/app.py"]
