# vxl on NVIDIA GPUs:  docker build -t vxl .   docker run --gpus all -v $PWD:/data vxl train model=tiny
FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv git \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/vxl
ENV PATH=/opt/vxl/bin:$PATH PYTHONUNBUFFERED=1
RUN pip install --no-cache-dir torch==2.13.0 --index-url https://download.pytorch.org/whl/cu130
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE constraints.txt train.py evaluate.py /src/
COPY conf /src/conf
COPY examples/clips /src/examples/clips
COPY vxl /src/vxl
RUN pip install --no-cache-dir '/src[train,serve,slurm,quantised,parquet]' && rm -r /src
WORKDIR /data
ENTRYPOINT ["vxl"]
CMD ["--help"]
